"""Columns of the files of trials, and which trial is the best."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["TRIALS", "best_trial"]

TRIALS: dict[str, Any] = {
    "trial": pl.Int64,
    "state": pl.String,
    "NDCG@10": pl.Float64,
    "values": pl.String,
    "reason": pl.String,
}
"""tuning/DATASET/RUN.parquet: one row per trial. state: COMPLETE, PRUNED or FAIL; values: JSON, key of the run ->
value; reason: why a trial failed, which then has no NDCG@10."""


def best_trial(trials: pl.DataFrame) -> dict[str, Any]:
    """The row of the complete trial with the best value; of several the first, so that ties change no value."""
    complete = trials.filter(pl.col("state") == "COMPLETE")
    return complete.sort("NDCG@10", "trial", descending=[True, False]).row(0, named=True)
