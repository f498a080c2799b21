"""Reads history.parquet, the epochs of a training."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from decorec.artifacts.files import read_table

__all__ = ["best_epoch"]


def best_epoch(history: Path) -> int:
    """The number of the epoch that validation chose, from 0.

    Raises:
        DecorecError: the file is missing or damaged.
    """
    epochs = read_table(history, {"epoch": pl.Int64, "best": pl.Boolean})
    return int(epochs.filter("best")["epoch"].item())
