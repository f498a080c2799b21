"""Columns of recall.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["RECALL"]

RECALL: dict[str, Any] = {"view": pl.String, "user": pl.String, "hits": pl.Float64, "predictions": pl.Float64}
"""recall.parquet: one row per view and user; both are means over the orders of a tie at the last predictions."""
