"""Columns of the files of trials."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["TRIALS"]

TRIALS: dict[str, Any] = {"trial": pl.Int64, "state": pl.String, "NDCG@10": pl.Float64, "values": pl.String}
"""tuning/DATASET/RUN.parquet: one row per trial; values: JSON, key of the run -> value."""
