"""Ranking and statistics."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Section

__all__ = ["EvaluateConfig"]


class EvaluateConfig(Section):
    """Ranking and statistics."""

    mask_history: bool = False
    """Exclude the items of the user's history from the ranked items (in this literature: false)."""
    bootstrap: int = Field(1_000, ge=100)
    """Number of resamples of users for each confidence interval."""
    level: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of the confidence intervals."""
