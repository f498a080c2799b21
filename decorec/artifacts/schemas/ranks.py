"""Columns of ranks.parquet and modes.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["HISTORY_LENGTH", "RANKS"]

RANKS: dict[str, Any] = {"user": pl.String, "target": pl.Int32, "rank": pl.Float64}
"""ranks.parquet and, for each mode, modes.parquet: the rank of each user's target."""
HISTORY_LENGTH: dict[str, Any] = {"history_length": pl.Int32}
"""Number of items before the test item (training part and validation item); only in ranks.parquet."""
