"""Columns of images.parquet."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

__all__ = ["IMAGES", "Status"]

Status = Literal["ok", "permanent", "transient"]
"""How an address ended; after a transient failure another run may succeed."""

IMAGES: dict[str, Any] = {
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
"""images.parquet: one row per picture address tried."""
