"""Columns of the tables that one step writes and another one reads."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["GRADIENTS", "IMAGES", "RANKS", "RECALL", "TRIALS"]

Schema = dict[str, Any]

IMAGES: Schema = {
    "item": pl.String,
    "url": pl.String,
    "status": pl.String,
    "http_status": pl.Int32,
    "error": pl.String,
    "attempts": pl.Int32,
    "sha256": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "bytes": pl.Int64,
    "placeholder": pl.Boolean,
}
"""images.parquet: one row per picture address that was asked for."""

RANKS: Schema = {"user": pl.String, "target": pl.Int32, "rank": pl.Float64}
"""ranks.parquet and, for each mode, modes.parquet: the rank of each user's target."""
HISTORY_LENGTH: Schema = {"history_length": pl.Int32}
"""Items before the test item, which only ranks.parquet has: the training part and the validation item."""

RECALL: Schema = {"view": pl.String, "user": pl.String, "hits": pl.Int64, "predictions": pl.Int64}
"""recall.parquet: one row per view and user."""

GRADIENTS: Schema = {
    **dict.fromkeys(("epoch", "step"), pl.Int64),
    **dict.fromkeys(("cosine", "cosine_apart", "id_norm", "modal_norm"), pl.Float64),
}
"""gradients.parquet: one row per measured step. Norms are those of all gradients of a part, before clipping."""

TRIALS: Schema = {"trial": pl.Int64, "state": pl.String, "NDCG@10": pl.Float64, "values": pl.String}
"""tuning/DATASET/RUN.parquet: one row per trial; values: JSON, key of the run -> value."""
