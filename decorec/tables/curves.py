"""Step curves-table: validation metrics by epoch, of training on ids only and on modalities only."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table, write_csv

__all__ = ["curves_table"]

DRAWN = ("Hit@10", "NDCG@10")


def curves_table(*, histories: list[Path], csv: Path) -> None:
    """Collect validation metrics by epoch.

    Args:
        histories: DATASET/runs/RUN/seed-N/STAGE/history.parquet (read).
        csv: the table (written), one row per data set, run, stage, metric and epoch: mean and std over the seeds that
            reached the epoch, seeds (their number), best (number of seeds whose best epoch it is).

    Raises:
        DecorecError: a file is missing, has another path or lacks a column.
    """
    frames = []
    for file in histories:
        where = layout.place(file, layout.HISTORY)
        history = read_table(file, {"epoch": pl.Int64, "best": pl.Boolean, **dict.fromkeys(DRAWN, pl.Float64)})
        names = [pl.lit(getattr(where, name)).alias(name) for name in ("dataset", "run", "stage")]
        frames.append(history.select(*names, "epoch", "best", *DRAWN))
    keys = ["dataset", "run", "stage", "metric", "epoch"]
    long = pl.concat(frames).unpivot(DRAWN, index=["dataset", "run", "stage", "epoch", "best"], variable_name="metric")
    table = long.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(), std=pl.col("value").std(), seeds=pl.len(), best=pl.col("best").sum()
    )
    order = [pl.col("metric"), pl.col("epoch")]
    first = pl.concat(frames).select("dataset", "run", "stage").unique(maintain_order=True).with_row_index("place")
    table = table.join(first, on=["dataset", "run", "stage"]).sort("place", *order).drop("place")
    write_csv(csv, table, 6)
    logging.getLogger("decorec").info("%s: %d histories", csv, len(histories))
