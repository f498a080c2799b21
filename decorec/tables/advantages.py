"""Step advantages-table: what each model gains from what another one was given, such as a horizon or experts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl
from pydantic import RootModel

from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, emphasise, percent, write
from decorec.tables.summary import Effect, Summary, compare_runs, summarise_block

__all__ = ["ModelNames", "advantages_table"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "metric", "model", "run"), pl.String),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("difference", "ci_low", "ci_high", "p_value"), pl.Float64),
    **dict.fromkeys(("lead", "lead_low", "lead_high", "lead_p_value"), pl.Float64),
}
PRINTED = ("Hit@10", "NDCG@10", "NDCG@50")
"""Metrics that are printed; the csv file has all of them."""


class ModelNames(RootModel[dict[str, str]]):
    """Run -> its model. The first run of a model is what its other runs are compared with."""

    def own(self, run: str) -> str:
        """The first run of the model of ``run``."""
        return next(other for other, model in self.root.items() if model == self.root[run])

    def last(self) -> list[str]:
        """The last run of each model: the one with all additions."""
        return list({model: run for run, model in self.root.items()}.values())


@dataclass(frozen=True)
class _Part:
    """One block."""

    block: Block
    models: ModelNames
    summaries: Mapping[tuple[str, str], Summary]
    """By run and metric."""
    effects: Mapping[tuple[str, str], Effect]
    """The same, of a run minus the first run of its model."""
    leads: Mapping[tuple[str, str], Effect]
    """The same, of the last run of the first model minus that of another model."""

    def records(self) -> Iterator[tuple[object, ...]]:
        """Rows of the csv file."""
        for run, model in self.models.root.items():
            for metric in REPORTED:
                row = self.summaries[run, metric]
                gain, lead = (_cells(effects.get((run, metric))) for effects in (self.effects, self.leads))
                yield (*self.block, metric, model, run, row.mean, row.std, row.seeds, *gain, *lead)

    def groups(self) -> Iterator[Group]:
        """The printed rows, a group for each model."""
        for model, names in groupby(self.models.root, key=self.models.root.__getitem__):
            runs = list(names)
            columns = []
            for metric in PRINTED:
                rows = [self.summaries[run, metric] for run in runs]
                values = [f"{row.mean:.4f}" for row in rows]
                cells = []
                for row, value, mark in zip(rows, values, emphasise(values), strict=True):
                    effect = self.effects.get((row.run, metric))
                    gain = "" if effect is None else f"{effect.difference:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}]"
                    cells.append(Cell(value, mark, "" if row.std is None else f"{row.std:.4f}", gain))
                columns.append(cells)
            yield Group(
                self.block.title(model),
                [(label(run), list(cells)) for run, *cells in zip(runs, *columns, strict=True)],
            )


def _cells(effect: Effect | None) -> tuple[float | None, ...]:
    return (None,) * 4 if effect is None else (effect.difference, effect.low, effect.high, effect.p_value)


def _part(block: Block, runs: dict[str, RunRanks], models: ModelNames, evaluate: EvaluateConfig) -> _Part:
    def minus(one: str, other: str, row: str) -> dict[tuple[str, str], Effect]:
        found = compare_runs(runs[one], runs[other], evaluate)
        return {(row, metric): effect for metric, effect in zip(REPORTED, found, strict=True)}

    effects: dict[tuple[str, str], Effect] = {}
    for run in models.root:
        if run != models.own(run):
            effects |= minus(run, models.own(run), run)
    leads: dict[tuple[str, str], Effect] = {}
    first, *others = models.last()
    for run in others:
        leads |= minus(first, run, run)
    summaries = {(row.run, row.metric): row for row in summarise_block(block, runs, None, evaluate)}
    return _Part(block, models, summaries, effects, leads)


def advantages_table(
    *,
    ranks: list[Path],
    models: ModelNames,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs of the same model: its own, and those with what another model was given.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        models: run -> its model, in the order of the rows; runs of one model follow each other, its own run first.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, run and metric: dataset, history (kept or masked),
            metric, model, run, mean, std, seeds, difference (to the first run of the model; empty for that run),
            ci_low, ci_high (over users and seeds), p_value (paired permutation test over users); lead, lead_low,
            lead_high, lead_p_value: the same for the last run of the first model minus this run, where this is the last
            run of another model.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: runs of one model do not follow each other, or the files do not fit together.
    """
    together = [model for model, _ in groupby(models.root.values())]
    if len(together) != len(set(together)):
        again = next(model for model in together if together.count(model) > 1)
        raise DecorecError(
            f"tables.advantages: expected runs of one model one after another, found those of {again} apart; sort them"
        )
    parts = [_part(block, runs, models, evaluate) for block, runs in read_runs(ranks, list(models.root)).items()]
    table = Table(
        records=pl.DataFrame([row for part in parts for row in part.records()], schema=SCHEMA, orient="row"),
        caption="What each model gains from the same additions",
        columns=["Run", *PRINTED],
        groups=[group for part in parts for group in part.groups()],
        notes=[
            "The first run of a model is its own. Mean over users and seeds ± standard deviation over seeds; "
            f"seeds: {' or '.join(map(str, sorted({row.seeds for part in parts for row in part.summaries.values()})))}"
            ". Bold: best run of the model; underlined: second best.",
            "Below (html and csv): difference to the model's own run, with its "
            f"{percent(evaluate.level)} interval over users and seeds.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d runs", csv, len(models.root))
