"""The exception for failures that users can correct."""

from __future__ import annotations

__all__ = ["DecorecError"]


class DecorecError(Exception):
    """An expected failure of the input, the configuration or the environment.

    The message names the place (file, row, item or key), what was expected, what was found and what to do.
    The command line prints it without a traceback and exits with status 1. Any other exception is a defect and keeps
    its traceback.
    """
