"""Columns of gradients.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["FIRST", "GRADIENTS"]

FIRST = 50
"""Steps at the start of training that are all measured (figure 3a of the paper)."""

GRADIENTS: dict[str, Any] = {
    **dict.fromkeys(("epoch", "step"), pl.Int64),
    **dict.fromkeys(("cosine", "cosine_apart", "id_norm", "modal_norm"), pl.Float64),
}
"""gradients.parquet: one row per measured step. Norms are those of all gradients of a part, before clipping."""
