"""Step comparison-table: compares the runs of one table with each other and with the paper."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import polars as pl

from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.evaluation.significance import FLIPS
from decorec.tables.cells import cells
from decorec.tables.labels import PaperNames, label, paper_name
from decorec.tables.paper import paper_figure
from decorec.tables.render import Group, Table, percent, write
from decorec.tables.summary import Summary, summarise

__all__ = ["comparison_table"]


@dataclass(frozen=True)
class Comparison:
    """One kind of table."""

    caption: str
    column: str
    """Name of the column of runs in the csv file."""
    paper: Literal["main", "ablations"] | None
    """Table of the paper whose values are compared; None: it has no values."""


COMPARISONS = {
    "main": Comparison("Comparison of models on the test targets", "model", "main"),
    "ablations": Comparison("Ablations on the test targets", "variant", "ablations"),
    "fusion": Comparison("Ids, modalities and their naive fusion on the test targets", "model", None),
    "readings": Comparison("Other readings of the paper's equations on the test targets", "variant", None),
}


def _records(rows: Sequence[Summary], kind: Comparison, paper: PaperNames) -> pl.DataFrame:
    schema = {
        **dict.fromkeys(("dataset", "history", "metric", kind.column), pl.String),
        **dict.fromkeys(("mean", "std"), pl.Float64),
        "seeds": pl.Int64,
        **dict.fromkeys(("ci_low", "ci_high", "paper", "p_value"), pl.Float64),
    }
    records = []
    for row in rows:
        figure = None
        if kind.paper is not None and row.block.history == "kept":  # the paper does not mask
            figure = paper_figure(kind.paper, paper.of(row.block.dataset), paper_name(row.run), row.metric)
        measured = (row.mean, row.std, row.seeds, row.ci_low, row.ci_high)
        records.append((*row.block, row.metric, row.run, *measured, figure, row.p_value))
    return pl.DataFrame(records, schema=schema, orient="row")


def _groups(rows: Sequence[Summary]) -> list[Group]:
    groups = []
    for block, part in groupby(rows, key=lambda row: row.block):
        lines = [list(line) for _, line in groupby(part, key=lambda row: row.metric)]
        names = [f"{label(row.run)}, seeds: {row.seeds}" for row in lines[0]]
        by_run = zip(*(cells(line) for line in lines), strict=True)
        title = block.title(f"{lines[0][0].users:,} users")
        groups.append(Group(title, [(name, list(row)) for name, row in zip(names, by_run, strict=True)]))
    return groups


def _notes(reference: str, evaluate: EvaluateConfig) -> list[str]:
    return [
        "Mean over users and seeds ± standard deviation over seeds. Bold: best; underlined: second best.",
        f"In brackets: {percent(evaluate.level)} bootstrap interval over users, {evaluate.bootstrap:,} resamples. "
        f"p: two-sided paired permutation test over users, {FLIPS:,} sign patterns, {label(reference)} against the "
        "run, not corrected for the number of comparisons. (Intervals and p-values are in the html and csv files.)",
        "All items of the data set are ranked. History kept: those of the user's history as well; history masked: "
        "without them.",
    ]


def comparison_table(
    *,
    kind: str,
    ranks: list[Path],
    runs: list[str],
    reference: str,
    evaluate: EvaluateConfig,
    paper: PaperNames,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs on every data set: models, ablations, kinds of fusion or readings of the equations.

    Args:
        kind: main, ablations, fusion or readings.
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        runs: the runs, in the order of the rows.
        reference: run that all others are tested against.
        evaluate: the section evaluate of the configuration.
        paper: data set -> its name in the paper, or null.
        csv: the table (written), one row per data set, history, metric and run: dataset, history (kept or masked),
            metric, model (the run; for ablations and readings the column is named variant), mean, std, seeds, ci_low,
            ci_high, paper (value in the paper's table of that kind, which keeps the history; empty for fusion and
            readings), p_value (paired test of the reference against the run); missing values are empty.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: the kind is unknown, the reference is not one of the runs, or the files do not fit together.
    """
    if kind not in COMPARISONS:
        raise DecorecError(f"--kind: expected one of {', '.join(COMPARISONS)}, found {kind!r}; correct the name")
    rows = summarise(ranks, runs, reference, evaluate)
    table = Table(
        records=_records(rows, COMPARISONS[kind], paper),
        caption=COMPARISONS[kind].caption,
        columns=[COMPARISONS[kind].column.capitalize(), *REPORTED],
        groups=_groups(rows),
        notes=_notes(reference, evaluate),
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d files of ranks in, %d rows out", csv, len(ranks), len(rows))
