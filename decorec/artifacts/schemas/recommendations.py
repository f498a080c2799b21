"""recommendations.parquet: the lists of all customers."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["REASONS", "RECOMMENDATIONS"]

REASONS = ("model", "popular")
RECOMMENDATIONS: dict[str, Any] = {
    "user": pl.String,
    "rank": pl.Int32,
    "item": pl.String,
    "score": pl.Float32,
    "reason": pl.String,
}
"""One row per customer and rank, from 1. Scores are comparable within one list only."""
