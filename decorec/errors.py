"""The one exception that users see."""

from __future__ import annotations

__all__ = ["DecorecError"]


class DecorecError(Exception):
    """An expected failure of the input, the configuration or the environment.

    The message names the place (file, row, item or key), what was expected, what was found and what to do.
    The command line prints it without a traceback and exits with status 1; everything else is a defect and
    keeps its traceback.
    """
