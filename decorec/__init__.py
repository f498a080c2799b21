"""Multi-modal sequential recommendation: from raw reviews and pictures to tables of results."""

__version__ = "0.1.0"
