"""Steps tuning-table and tuned: the trials of a data set, and the best of them as an overlay of the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from decorec.artifacts.files import read_csv, read_table, write_csv, write_text
from decorec.artifacts.schemas.trials import TRIALS, best_trial
from decorec.config.runs import Overlaid, Run, nested, with_values
from decorec.errors import DecorecError

__all__ = ["tuned", "tuning_table"]


def tuning_table(*, trials: list[Path], earlier: Overlaid, csv: Path) -> None:
    """Collect all trials of a data set.

    Args:
        trials: tuning/DATASET/RUN.parquet (read) of all runs of the data set.
        earlier: run -> the values that its trials started from, and keys for which the configuration has other ones on
            this data set. Every trial of the run is told with its values at these keys as well: laid over that
            configuration, they give what the trial trained.
        csv: the table (written), one row per trial: run, trial, state, NDCG@10 (on validation), values (JSON),
            reason (why it failed), best (whether it is the best complete trial of its run, the first of several).

    Raises:
        DecorecError: a file is missing or damaged.
    """
    frames = []
    for file in trials:
        frame = read_table(file, TRIALS).sort("trial")
        values = [_told(json.loads(one), earlier.root.get(file.stem)) for one in frame["values"]]
        named = frame.select(pl.lit(file.stem).alias("run"), pl.all()).with_columns(values=pl.Series(values))
        frames.append(named.with_columns(best=pl.col("trial") == best_trial(frame)["trial"]))
    write_csv(csv, pl.concat(frames))


def _told(values: dict[str, Any], earlier: tuple[Run, list[str]] | None) -> str:
    """The values of a trial, as JSON, with those that it had at keys for which there are others."""
    if earlier is not None:
        run, keys = earlier
        tried = with_values(run, values)
        values = {key: tried.at(key) for key in keys} | values
    return json.dumps(values, sort_keys=True)


def tuned(*, csv: Path, output: Path) -> None:
    """Write the best values of each run as an overlay of the configuration (snakemake --configfile ... OUTPUT).

    Args:
        csv: results/tuning/DATASET.csv (read); the values are used on that data set only.
        output: the overlay (written), a YAML file.

    Raises:
        DecorecError: there is no such table.
    """
    import yaml

    if not csv.is_file():
        raise DecorecError(f"{csv}: expected a table of trials, found no such file; run: snakemake --cores all {csv}")
    trials = read_csv(csv)
    runs = {row["run"]: nested(json.loads(row["values"])) for row in trials.filter("best").iter_rows(named=True)}
    counts = sorted(set(trials.group_by("run").len()["len"]))
    heading = (
        f"# Values with the best NDCG@10 on validation of {' or '.join(map(str, counts))} trials a run, for the data\n"
        f"# set {csv.stem} alone. Written by `python -m decorec tuned`.\n"
    )
    write_text(output, heading + yaml.safe_dump({"tuned": {csv.stem: runs}}, sort_keys=False))
