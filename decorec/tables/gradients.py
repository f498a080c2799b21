"""Step gradients_table: cosine and norms of the gradients of ids and modalities, step by step of a joint training."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table, write_text
from decorec.artifacts.schemas import GRADIENTS

__all__ = ["gradients_table"]


def gradients_table(*, gradients: list[Path], csv: Path) -> None:
    """Write one row per data set, run, seed and measured step: epoch, step and what the step gradient-probe measured there.

    gradients: DATASET/runs/RUN/seed-N/gradients.parquet.

    Raises:
        DecorecError: a file is missing, lies elsewhere or lacks a column.
    """
    frames = []
    for file in gradients:
        where, frame = layout.place(file, layout.GRADIENTS), read_table(file, GRADIENTS)
        names = [pl.lit(getattr(where, name)).alias(name) for name in ("dataset", "run", "seed")]
        frames.append(frame.select(*names, *GRADIENTS))
    table = pl.concat(frames)
    # Norms of gradients span many decades: six decimals would not do.
    write_text(csv, table.write_csv(float_precision=9))
    logging.getLogger("decorec").info("%s: %d steps", csv, len(table))
