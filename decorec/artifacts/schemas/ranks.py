"""Columns of ranks.parquet, validation.parquet and modes.parquet."""

from __future__ import annotations

from typing import Any, Literal, get_args

import polars as pl

__all__ = ["COLD", "COUNTS", "EVALUATED", "HISTORIES", "RANKS", "History"]

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
"""ranks.parquet and, for each mode, modes.parquet: where each user's test target stands. validation.parquet: where each
user's validation target stands.

higher: candidates scored higher than the target. equal: other candidates with exactly its score (no tolerance). The
target has any of the places higher + 1 to higher + equal + 1; every metric is the mean over these
(``decorec.evaluation.rank_metrics.Metric``). higher_masked, equal_masked: the same among the candidates that are left
when the items of the user's whole history are masked.
"""
COLD: tuple[str, str] = ("higher_cold", "equal_cold")
"""The two columns of counts among the cold items alone, those without an interaction in the training part."""

EVALUATED: dict[str, Any] = {
    "history_length": pl.Int32,
    "training_length": pl.Int32,
    "target_count": pl.Int32,
    **dict.fromkeys(COLD, pl.Int32),
}
"""Further columns of ranks.parquet alone. history_length: items before the test item. training_length: interactions of
the user in the training part. target_count: interactions with the target in the training part. higher_cold, equal_cold:
the counts among the cold items alone, with the history kept; null where the target is not cold.
"""
