"""Step gradients-table: cosine and norms of the gradients of ids and modalities, step by step of a joint training."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table, write_csv
from decorec.artifacts.schemas.gradients import GRADIENTS

__all__ = ["gradients_table"]


def gradients_table(*, gradients: list[Path], csv: Path) -> None:
    """Collect the measurements of the step gradient-probe.

    Args:
        gradients: DATASET/runs/RUN/seed-N/gradients.parquet (read).
        csv: the table (written), one row per measured step: dataset, run, seed, epoch, step, cosine, cosine_apart,
            id_norm, modal_norm.

    Raises:
        DecorecError: a file is missing, has another path or lacks a column.
    """
    frames = []
    for file in gradients:
        where, frame = layout.place(file, layout.GRADIENTS), read_table(file, GRADIENTS)
        names = [pl.lit(getattr(where, name)).alias(name) for name in ("dataset", "run", "seed")]
        frames.append(frame.select(*names, *GRADIENTS))
    table = pl.concat(frames)
    # Norms of gradients span many orders of magnitude: six decimals are not enough.
    write_csv(csv, table, 9)
    logging.getLogger("decorec").info("%s: %d steps", csv, len(table))
