"""Step coldstart-table: compares runs on users with few interactions and on the others, and with a baseline."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.config.evaluation import EvaluateConfig
from decorec.evaluation.metrics import REPORTED
from decorec.tables.collect import RunRanks, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, emphasise, percent, write
from decorec.tables.summary import Effect, Summary, compare, per_user, summarise_block

__all__ = ["Users", "coldstart_table", "groups_of_users"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "group", "metric", "model"), pl.String),
    **dict.fromkeys(("users", "least", "most"), pl.Int64),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high", "improvement_percent"), pl.Float64),
    **dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"), pl.Float64),
}


@dataclass(frozen=True)
class Users:
    """A group of users."""

    name: str
    """cold or other."""
    chosen: npt.NDArray[np.bool_]
    """[U], users in ascending order of their ids."""
    least: int
    most: int
    """Smallest and largest number of training interactions of its users."""


def groups_of_users(run: RunRanks, share: float) -> list[Users]:
    """Cold users and the others, from the ranks of any run on them; only groups that have users.

    A user is cold with at most n training interactions; n is the smallest number that at least ``share`` of the users
    do not exceed. The group is larger than the share if many users have exactly n.
    """
    lengths = run.lengths
    assert lengths is not None, "ranks of modes have no lengths"
    most = int(np.quantile(lengths, share, method="inverted_cdf"))
    cold = lengths <= most
    named = (("cold", cold), ("other", ~cold))
    return [
        Users(name, chosen, int(lengths[chosen].min()), int(lengths[chosen].max()))
        for name, chosen in named
        if chosen.any()
    ]


def _improvements(
    runs: Mapping[str, RunRanks], baseline: str, evaluate: EvaluateConfig
) -> dict[tuple[str, str], Effect]:
    """(run, metric) -> gain over the baseline; empty if the baseline is not among the runs."""
    if baseline not in runs:
        return {}
    base = per_user(runs[baseline])
    others = [name for name in runs if name != baseline]
    effects = {name: compare(per_user(runs[name]) - base, evaluate) for name in others}
    return {(name, metric): effect for name in others for metric, effect in zip(REPORTED, effects[name], strict=True)}


@dataclass(frozen=True)
class _Part:
    """One group of users in one block."""

    users: Users
    summaries: list[Summary]
    effects: dict[tuple[str, str], Effect]
    baseline: str

    def percent(self, row: Summary) -> float | None:
        """Relative improvement over the baseline."""
        if (row.run, row.metric) not in self.effects:
            return None
        base = next(s.mean for s in self.summaries if s.run == self.baseline and s.metric == row.metric)
        return 100 * (row.mean / base - 1) if base else None

    def records(self) -> Iterator[tuple[object, ...]]:
        """Rows of the csv file."""
        for row in self.summaries:
            effect = self.effects.get((row.run, row.metric))
            gain = (None,) * 4 if effect is None else (effect.difference, effect.low, effect.high, effect.p_value)
            names = (*row.block, self.users.name, row.metric, row.run)
            spread = (row.mean, row.std, row.seeds, row.ci_low, row.ci_high)
            yield (*names, row.users, self.users.least, self.users.most, *spread, self.percent(row), *gain)

    def group(self, runs: Sequence[str]) -> Group:
        """The printed rows."""
        first = self.summaries[0]
        least, most = self.users.least, self.users.most
        span = f"{least if least == most else f'{least} to {most}'} training interactions"
        rows = []
        for metric in REPORTED:
            line = [row for run in runs for row in self.summaries if (row.run, row.metric) == (run, metric)]
            values = [f"{row.mean:.4f}" for row in line]
            cells = []
            for row, value, mark in zip(line, values, emphasise(values), strict=True):
                spread = "" if row.std is None else f"{row.std:.4f}"
                percent, effect = self.percent(row), self.effects.get((row.run, row.metric))
                gain = "" if percent is None or effect is None else f"{percent:+.1f} %, p = {effect.p_value:.4f}"
                cells.append(Cell(value, mark, spread, gain))
            rows.append((metric, cells))
        return Group(first.block.title(f"{self.users.name} users: {first.users:,} with {span}"), rows)


def coldstart_table(
    *,
    ranks: list[Path],
    runs: list[str],
    baseline: str,
    cold: float,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs on cold users (few training interactions) and on the others.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        runs: the runs, in the order of the columns.
        baseline: run that gains are computed against; without it among the runs, there are no gains.
        cold: share of the users that count as cold: those with the fewest training interactions.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, group of users, metric and run: dataset, history (kept
            or masked), group (cold or other), metric, model (the run), users, least and most (training interactions),
            mean, std, seeds, ci_low, ci_high, improvement_percent, difference, difference_low, difference_high, p_value
            (against the baseline).
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    parts = []
    for block, group in read_runs(ranks, runs).items():
        for chosen in groups_of_users(group[runs[0]], cold):
            subset = {name: run.of(chosen.chosen) for name, run in group.items()}
            summaries = summarise_block(block, subset, None, evaluate)
            parts.append(_Part(chosen, summaries, _improvements(subset, baseline, evaluate), baseline))
    table = Table(
        records=pl.DataFrame([row for part in parts for row in part.records()], schema=SCHEMA, orient="row"),
        caption="Users with few interactions and other users",
        columns=["Metric", *map(label, runs)],
        groups=[part.group(runs) for part in parts],
        notes=[
            f"Cold: the {percent(cold)} of the users with the fewest training interactions; users with equal numbers "
            "are in the same group. Mean over users and seeds ± standard deviation over seeds. Bold: best; underlined: "
            "second best.",
            f"Below (html and csv): improvement over {label(baseline)} on the same users, relative to its mean, and "
            "p-value of the two-sided paired permutation test, not corrected.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d groups of users", csv, len(parts))
