"""Multi-modal sequential recommendation, from raw reviews and pictures to trusted tables."""

__version__ = "0.1.0"
