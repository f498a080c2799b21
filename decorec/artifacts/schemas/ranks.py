"""Columns of ranks.parquet and modes.parquet."""

from __future__ import annotations

from typing import Any, Literal, get_args

import polars as pl

__all__ = ["COUNTS", "HISTORIES", "HISTORY_LENGTH", "RANKS", "History"]

History = Literal["kept", "masked"]
"""Whether the items of a user's history are candidates: kept, or masked (except a target that was bought before)."""

HISTORIES: tuple[History, ...] = get_args(History)

COUNTS: dict[History, tuple[str, str]] = {
    "kept": ("higher", "equal"),
    "masked": ("higher_masked", "equal_masked"),
}
"""The two columns of counts of each treatment of the history."""

RANKS: dict[str, Any] = {
    "user": pl.String,
    "target": pl.Int32,
    **{name: pl.Int32 for history in HISTORIES for name in COUNTS[history]},
}
"""ranks.parquet and, for each mode, modes.parquet: where each user's target stands.

higher: candidates scored higher than the target. equal: other candidates with exactly its score (no tolerance). The
target has any of the places higher + 1 to higher + equal + 1; every metric is the mean over these
(``decorec.evaluation.rank_metrics.Metric``). higher_masked, equal_masked: the same among the candidates that are left
when the items of the user's whole history are masked.
"""
HISTORY_LENGTH: dict[str, Any] = {"history_length": pl.Int32}
"""Number of items before the test item (training part and validation item); only in ranks.parquet."""
