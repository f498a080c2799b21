"""Columns of ranks.parquet and modes.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["HISTORY_LENGTH", "RANKS"]

RANKS: dict[str, Any] = {"user": pl.String, "target": pl.Int32, "higher": pl.Int32, "equal": pl.Int32}
"""ranks.parquet and, for each mode, modes.parquet: where each user's target stands.

higher: candidates scored higher than the target. equal: other candidates with exactly its score (no tolerance). Items
that are masked are no candidates. The target has any of the places higher + 1 to higher + equal + 1; every metric is
the mean over these (``decorec.evaluation.rank_metrics.Metric``).
"""
HISTORY_LENGTH: dict[str, Any] = {"history_length": pl.Int32}
"""Number of items before the test item (training part and validation item); only in ranks.parquet."""
