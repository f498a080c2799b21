"""Columns of recall.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["RECALL"]

RECALL: dict[str, Any] = {"view": pl.String, "user": pl.String, "hits": pl.Int64, "predictions": pl.Int64}
"""recall.parquet: one row per view and user."""
