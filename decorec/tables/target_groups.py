"""Groups of targets among groups of candidates: what the tables of cold and of new items have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from decorec.evaluation.metrics import REPORTED
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, emphasise
from decorec.tables.summary import Summary

__all__ = ["TargetGroup", "table_of"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "targets", "candidates", "metric", "model"), pl.String),
    **dict.fromkeys(("users", "cold_items"), pl.Int64),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high"), pl.Float64),
}


@dataclass(frozen=True)
class TargetGroup:
    """Some targets among some candidates, in one block."""

    targets: str
    candidates: str
    cold_items: int
    """Items of the data set without a training interaction."""
    all_targets: int
    """Targets of the data set."""
    among: str
    """The candidates in words."""
    summaries: list[Summary]

    def records(self) -> Iterator[tuple[object, ...]]:
        """Rows of the csv file."""
        for row in self.summaries:
            names = (*row.block, self.targets, self.candidates, row.metric, row.run)
            yield (*names, row.users, self.cold_items, row.mean, row.std, row.seeds, row.ci_low, row.ci_high)

    def group(self, runs: Sequence[str]) -> Group:
        """The printed rows."""
        first = self.summaries[0]
        what = f"{first.users:,} of {self.all_targets:,} targets, {self.targets}"
        rows = []
        for metric in REPORTED:
            line = [row for run in runs for row in self.summaries if (row.run, row.metric) == (run, metric)]
            values = [f"{row.mean:.4f}" for row in line]
            spreads = ["" if row.std is None else f"{row.std:.4f}" for row in line]
            cells = zip(values, emphasise(values), spreads, strict=True)
            rows.append((metric, [Cell(value, mark, spread) for value, mark, spread in cells]))
        return Group(first.block.title(f"{what}, among {self.among}"), rows)


def table_of(groups: Sequence[TargetGroup], runs: Sequence[str], caption: str, notes: Sequence[str]) -> Table:
    """The table of some groups; ``runs`` in the order of the columns."""
    return Table(
        records=pl.DataFrame([row for group in groups for row in group.records()], schema=SCHEMA, orient="row"),
        caption=caption,
        columns=["Metric", *map(label, runs)],
        groups=[group.group(runs) for group in groups],
        notes=list(notes),
    )
