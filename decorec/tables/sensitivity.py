"""Step sensitivity-table: the reference with other values of one of its keys, on validation and test items."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import polars as pl
from pydantic import RootModel

from decorec.artifacts import layout
from decorec.artifacts.files import read_json
from decorec.artifacts.schemas.ranks import HISTORIES
from decorec.config.evaluation import EvaluateConfig
from decorec.config.tables import KNOBS
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.tables.cells import cells
from decorec.tables.collect import Block, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, emphasise, percent, write
from decorec.tables.summary import Summary, summarise_block

__all__ = ["RunValues", "sensitivity_table"]

SYMBOLS = {"alpha": "alpha", "tau": "tau", "clusters": "clusters per item"}
"""Table -> printed name of its values."""
TITLES = {
    "alpha": "Sensitivity to alpha, the weight of the other modality (eq. 14 and 17)",
    "tau": "Sensitivity to tau, the temperature (eq. 12 and 16)",
    "clusters": "Sensitivity to the number of clusters per item and modality (eq. 5)",
}
NOTES = {
    "alpha": [
        "alpha = 0 is not the variant without retrieval across modalities (model.cross: false). The target in the "
        "other modality adds exp(0) = 1 to the numerator of eq. 14 and stays in the denominator of eq. 15, as a "
        "negative.",
    ],
}
"""Table -> what else has to be known about its values."""
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "split", "metric"), pl.String),
    "value": pl.Float64,
    "run": pl.String,
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high", "p_value"), pl.Float64),
}


class RunValues(RootModel[dict[str, float]]):
    """Run -> its value of the key."""


@dataclass(frozen=True)
class _Validation:
    """One metric of one run on the validation items, in one block."""

    metric: str
    run: str
    means: list[float]
    """Mean over users, per seed."""

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with a single seed."""
        return stdev(self.means) if len(self.means) > 1 else None


def _validation(files: Sequence[Path], runs: Sequence[str]) -> dict[Block, list[_Validation]]:
    """Block -> validation metrics in the order metric, run."""
    found: dict[Block, dict[tuple[str, str], list[float]]] = {}
    for file in sorted(files):
        where, metrics = layout.place(file, layout.METRICS), read_json(file)
        for history, metric in product(HISTORIES, REPORTED):
            try:
                mean = float(metrics["valid"][history][metric])
            except (KeyError, TypeError, ValueError) as error:
                raise DecorecError(
                    f"{file}: expected a number at valid.{history}.{metric}, found a problem with {error}; evaluate "
                    "the run again"
                ) from error
            found.setdefault(Block(where.dataset, history), {}).setdefault((metric, where.run), []).append(mean)
    return {
        block: [_Validation(m, run, means[m, run]) for m in REPORTED for run in runs if (m, run) in means]
        for block, means in found.items()
    }


def _validation_cells(line: Sequence[_Validation]) -> list[Cell]:
    values = [f"{fmean(row.means):.4f}" for row in line]
    return [
        Cell(value, mark, "" if row.spread is None else f"{row.spread:.4f}")
        for row, value, mark in zip(line, values, emphasise(values), strict=True)
    ]


def _groups(block: Block, valid: Sequence[_Validation], test: Sequence[Summary]) -> list[Group]:
    validation = [(name, _validation_cells(list(line))) for name, line in groupby(valid, key=lambda row: row.metric)]
    tested = [(name, cells(list(line))) for name, line in groupby(test, key=lambda row: row.metric)]
    # Who has a test target may be others than those who have a validation target; metrics.json counts the former.
    return [
        Group(block.title("validation items"), validation),
        Group(block.title(f"{test[0].users:,} users", "test items"), tested),
    ]


def _records(
    block: Block, values: Mapping[str, float], valid: Sequence[_Validation], test: Sequence[Summary]
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for row in valid:
        measured = (fmean(row.means), row.spread, len(row.means))
        rows.append((*block, "valid", row.metric, values[row.run], row.run, *measured, None, None, None))
    for tested in test:
        figures = (tested.mean, tested.std, tested.seeds, tested.ci_low, tested.ci_high, tested.p_value)
        rows.append((*block, "test", tested.metric, values[tested.run], tested.run, *figures))
    return rows


def sensitivity_table(
    *,
    knob: str,
    ranks: list[Path],
    metrics: list[Path],
    values: RunValues,
    reference: str,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare the reference with runs that differ in one value only.

    Args:
        knob: the value that differs: alpha, tau or clusters.
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        metrics: DATASET/runs/RUN/seed-N/metrics.json (read) of all data sets, runs and seeds.
        values: run -> its value, in the order of the columns.
        reference: run that all others are tested against.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, split, metric and run: dataset, history (kept or
            masked), split (valid or test), metric, value, run, mean, std, seeds; on test items also ci_low, ci_high,
            p_value (paired test of the reference against the run).
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: the knob is unknown, or the files do not fit together.
    """
    if knob not in KNOBS:
        raise DecorecError(f"--knob: expected one of {', '.join(KNOBS)}, found {knob!r}; correct the name")
    runs = list(values.root)
    validation = _validation(metrics, runs)
    records, groups = [], []
    for block, found in read_runs(ranks, runs).items():
        test = summarise_block(block, found, reference, evaluate)
        valid = validation.get(block, [])
        if len(valid) != len(test):
            raise DecorecError(
                f"--metrics: expected a metrics.json of every run on {block.dataset}, found fewer; pass them"
            )
        records += _records(block, values.root, valid, test)
        groups += _groups(block, valid, test)
    frame = pl.DataFrame(records, schema=SCHEMA, orient="row")
    seeds = sorted(frame["seeds"].unique())
    table = Table(
        records=frame,
        caption=TITLES[knob],
        columns=["Metric", *(f"{SYMBOLS[knob]} = {value:g}" for value in values.root.values())],
        groups=groups,
        notes=[
            f"{label(reference)} with other values of {KNOBS[knob]} (its own is {values.root[reference]:g}); "
            f"nothing else changes. Seeds: {' or '.join(map(str, seeds))}. Mean over users and seeds ± standard "
            "deviation over seeds. Bold: best; underlined: second best.",
            *NOTES.get(knob, []),
            "Values are chosen on the validation items; the rows of the test items are for information only.",
            f"In brackets (test items): {percent(evaluate.level)} bootstrap interval over users. p: paired permutation "
            f"test of {label(reference)} against the column, not corrected.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d runs", csv, len(runs))
