"""Statistics of the tables."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Section

__all__ = ["EvaluateConfig"]


class EvaluateConfig(Section):
    """Statistics of the tables."""

    bootstrap: int = Field(1_000, ge=100)
    """Number of resamples of users for each confidence interval."""
    level: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of the confidence intervals."""
