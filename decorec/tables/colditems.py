"""Step colditems-table: compares runs on targets that have no interaction in the training part."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, emphasise, write
from decorec.tables.split_facts import SplitFacts, read_split
from decorec.tables.summary import Summary, summarise_block

__all__ = ["colditems_table"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "targets", "candidates", "metric", "model"), pl.String),
    **dict.fromkeys(("users", "cold_items"), pl.Int64),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high"), pl.Float64),
}


@dataclass(frozen=True)
class _Part:
    """Some targets among some candidates, in one block."""

    targets: str
    """cold or other."""
    candidates: str
    """all or cold."""
    facts: SplitFacts
    summaries: list[Summary]

    def records(self) -> Iterator[tuple[object, ...]]:
        """Rows of the csv file."""
        for row in self.summaries:
            names = (*row.block, self.targets, self.candidates, row.metric, row.run)
            yield (*names, row.users, self.facts.cold_items, row.mean, row.std, row.seeds, row.ci_low, row.ci_high)

    def group(self, runs: Sequence[str]) -> Group:
        """The printed rows."""
        first = self.summaries[0]
        what = f"{first.users:,} of {self.facts.test_targets:,} targets, {self.targets}"
        among = "all items" if self.candidates == "all" else f"the {self.facts.cold_items:,} cold items alone"
        rows = []
        for metric in REPORTED:
            line = [row for run in runs for row in self.summaries if (row.run, row.metric) == (run, metric)]
            values = [f"{row.mean:.4f}" for row in line]
            spreads = ["" if row.std is None else f"{row.std:.4f}" for row in line]
            cells = zip(values, emphasise(values), spreads, strict=True)
            rows.append((metric, [Cell(value, mark, spread) for value, mark, spread in cells]))
        return Group(first.block.title(f"{what}, among {among}"), rows)


def _parts(block: Block, runs: Mapping[str, RunRanks], facts: SplitFacts, evaluate: EvaluateConfig) -> Iterator[_Part]:
    """Cold targets among all items and among cold items, and the other targets; only groups that have targets."""
    ranked = next(iter(runs.values())).cold
    assert ranked is not None, "ranks of modes have no cold counts"
    cold = ranked.higher[0] >= 0
    if not cold.any():
        return
    some = {name: run.of(cold) for name, run in runs.items()}
    yield _Part("cold", "all", facts, summarise_block(block, some, None, evaluate))
    if block.history == "kept":
        among = {name: RunRanks(run.seeds, run.cold, run.users) for name, run in some.items() if run.cold is not None}
        yield _Part("cold", "cold", facts, summarise_block(block, among, None, evaluate))
    if not cold.all():
        others = {name: run.of(~cold) for name, run in runs.items()}
        yield _Part("other", "all", facts, summarise_block(block, others, None, evaluate))


def colditems_table(
    *,
    ranks: list[Path],
    statistics: list[Path],
    runs: list[str],
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs on cold targets, items without an interaction in the training part, and on the others.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        statistics: DATASET/statistics.json (read) of all data sets.
        runs: the runs, in the order of the columns.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, group of targets, candidates, metric and run: dataset,
            history (kept or masked), targets (cold or other), candidates (all, or cold: cold items alone, with the
            history kept), metric, model (the run), users (with such a target), cold_items (in the data set), mean, std,
            seeds, ci_low, ci_high. A data set without cold targets has no rows.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    facts = {layout.dataset_of(file): read_split(file) for file in statistics}
    parts, without = [], []
    for block, group in read_runs(ranks, runs).items():
        if block.dataset not in facts:
            raise DecorecError(f"--statistics: expected the file of {block.dataset!r}, found none; pass it")
        found = list(_parts(block, group, facts[block.dataset], evaluate))
        parts += found
        if not found and block.history == "kept":
            without.append(block.dataset)
    table = Table(
        records=pl.DataFrame([row for part in parts for row in part.records()], schema=SCHEMA, orient="row"),
        caption="Targets without a training interaction, and other targets",
        columns=["Metric", *map(label, runs)],
        groups=[part.group(runs) for part in parts],
        notes=[
            "Cold: items without an interaction in the training part; they are candidates for everyone. Mean over "
            "users and seeds ± standard deviation over seeds. Bold: best; underlined: second best.",
            "Among n cold items alone, a model that scores them all equal has Hit@k = k / n, up to 1.",
            *(
                f"{dataset}: each of the {facts[dataset].test_targets:,} test targets has a training interaction, so "
                "there is nothing to compare."
                for dataset in without
            ),
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d groups of targets", csv, len(parts))
