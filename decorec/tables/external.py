"""Step external-table: puts recommendations of other programs beside the runs of the main table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from decorec.artifacts.files import read_table
from decorec.artifacts.layout import dataset_of
from decorec.config.evaluation import EvaluateConfig
from decorec.config.external import ExternalConfig, ExternalRuns
from decorec.errors import DecorecError
from decorec.evaluation.external import Recommended, Targets
from decorec.evaluation.list_metrics import Lists
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.significance import FLIPS
from decorec.tables.beyond import Row, World, decimals, measured_rows
from decorec.tables.cells import cells
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, percent, write
from decorec.tables.summary import Summary, summarise_block

__all__ = ["external_table"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "metric", "model", "origin"), pl.String),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high", "p_value"), pl.Float64),
}


def external_table(
    *,
    ranks: list[Path],
    lists: list[Path],
    vocabs: list[Path],
    sequences: list[Path],
    runs: list[str],
    external: ExternalRuns,
    reference: str,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare recommendations that other programs have made with the runs of the main table, on the same targets.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        lists: the recommendations (read) of all data sets, names and seeds, at the paths that ``external`` says.
        vocabs: DATASET/vocab.parquet (read) of all data sets.
        sequences: DATASET/sequences.parquet (read) of all data sets.
        runs: the runs, in the order of the rows; the recommendations stand behind them.
        external: the section external of the configuration.
        reference: run that all others, and the recommendations, are tested against.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, metric and model: dataset, history (kept or masked),
            metric, model (the run, or the name in external), origin (run or external), mean, std, seeds, ci_low,
            ci_high, p_value (paired test of the reference against the model). A metric that the lists of a model do
            not reach has no row. Of recommendations that are lists there are also the metrics of beyond.csv that need
            no features, without a test.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, the reference is not one of the runs, the files of ranks do not fit
            together, or recommendations are not those of the users and items of the data set.
    """
    if reference not in runs:
        raise DecorecError(f"--reference: expected one of {', '.join(runs)}, found {reference!r}; correct the name")
    blocks = read_runs(ranks, runs)
    files = {dataset_of(vocab): (vocab, other) for vocab, other in zip(vocabs, sequences, strict=True)}
    found: dict[Block, dict[str, _Measured]] = {block: {} for block in blocks}
    beyond: dict[Block, list[Row]] = {block: [] for block in blocks}
    notes = []
    for dataset in dict.fromkeys(block.dataset for block in blocks):
        tested, world = Targets.read(*files[dataset]), World.read(*files[dataset], features=[])
        _expect_same_targets(tested, next(file for file in ranks if file.parents[3].name == dataset))
        for name, section in external.root.items():
            for block, measured in _measured(tested, dataset, name, section, lists).items():
                found[block][name] = measured
                if any((first >= 0).any() for first in measured.first):  # masked, it may be that nothing is left
                    seeds = [world.measured(block.history, first) for first in measured.first]
                    beyond[block] += measured_rows(name, seeds, evaluate)
        if tested.repeats:
            notes.append(
                f"{dataset}: {tested.repeats:,} of {len(tested.data.users):,} users had their target before. Lists "
                "that were made without the history miss it, where the runs may find it."
            )
    rows: list[Summary] = []
    for block, group in blocks.items():
        rows += summarise_block(block, group, reference, evaluate)
        for name, own in found[block].items():
            reached = [metric for metric in REPORTED if parse_metric(metric).cutoff <= own.depth]
            pair = {reference: group[reference], name: own.ranks}
            both = summarise_block(block, pair, reference, evaluate, reached) if reached else []
            rows += [row for row in both if row.run == name]
    table = Table(
        records=pl.concat([_records(rows, runs), _beyond(beyond)]),
        caption="Recommendations of other programs beside the runs, on the test targets",
        columns=["Model", *REPORTED],
        groups=[_group(block, [row for row in rows if row.block == block]) for block in blocks],
        notes=[
            "Mean over users and seeds ± standard deviation over seeds. Bold: best; underlined: second best. Empty: "
            "the lists are too short to tell, or do not tell of the history.",
            f"In brackets: {percent(evaluate.level)} bootstrap interval over users, {evaluate.bootstrap:,} resamples. "
            f"p: two-sided paired permutation test over users, {FLIPS:,} sign patterns, {label(reference)} against the "
            "model, not corrected for the number of comparisons. (Intervals and p-values are in the html and csv "
            "files.)",
            *notes,
            *(_in_words(block, found) for block, found in beyond.items() if found),
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d files of recommendations, %d rows out", csv, len(lists), len(rows))


@dataclass(frozen=True)
class _Measured:
    """Recommendations of one name, with one treatment of the history; users in ascending order of their ids."""

    ranks: RunRanks
    depth: float
    """Largest cut-off of a metric that is known of all seeds."""
    first: list[Lists]
    """The first items of each seed's lists; empty where they are not known of all seeds."""


def _expect_same_targets(tested: Targets, ranks: Path) -> None:
    """Check that the runs were evaluated on these sequences; that they fit each other is known."""
    frame = read_table(ranks, {"user": pl.String, "target": pl.Int32}, only=True).sort("user")
    targets = tested.data.targets("test")
    own = pl.DataFrame({"user": tested.data.users, "target": pl.Series(targets, dtype=pl.Int32)}).sort("user")
    if not frame.equals(own):
        raise DecorecError(
            f"{ranks}: expected the users and targets of --sequences, found others; evaluate the run again on them"
        )


def _measured(
    tested: Targets, dataset: str, name: str, section: ExternalConfig, lists: list[Path]
) -> dict[Block, _Measured]:
    """What is known of recommendations over their seeds, with each treatment of the history."""
    files = section.files_of(dataset, lists)
    if not files:
        raise DecorecError(f"--lists: expected {section.path} for the data set {dataset!r}, found none; pass the file")
    seeds = [tested.find(Recommended.read(files[seed], name, section)) for seed in sorted(files)]
    order = sorted(range(len(tested.data.users)), key=tested.data.users.__getitem__)
    result = {}
    for history in seeds[0]:
        standing = [each[history] for each in seeds]
        parts = (np.stack([getattr(one.ranks, part)[order] for one in standing]) for part in ("higher", "equal"))
        depth = min(one.depth for one in standing)
        first = [one.first[order] for one in standing if one.first is not None]
        own = RunRanks(tuple(sorted(files)), Ranks(*parts))
        result[Block(dataset, history)] = _Measured(own, depth, first if len(first) == len(standing) else [])
    _expect_reached(name, list(files.values()), [one.depth for one in result.values()])
    return result


def _expect_reached(name: str, files: Sequence[Path], depths: Sequence[float]) -> None:
    """Refuse lists that no metric can be computed from."""
    least = min(parse_metric(metric).cutoff for metric in REPORTED)
    if max(depths) < least:
        raise DecorecError(
            f"{', '.join(map(str, files))}: expected lists of at least {least} items for every user, besides those of "
            f"the history where it is masked, found one of {max(depths):g}; let the other program make longer ones "
            f"({REPORTED[-1].partition('@')[2]} reach all metrics)"
        )


def _records(rows: Sequence[Summary], runs: Sequence[str]) -> pl.DataFrame:
    records = [
        (*row.block, row.metric, row.run, origin, row.mean, row.std, row.seeds, row.ci_low, row.ci_high, row.p_value)
        for row in rows
        for origin in ["run" if row.run in runs else "external"]
    ]
    return pl.DataFrame(records, schema=SCHEMA, orient="row")


def _beyond(found: Mapping[Block, Sequence[Row]]) -> pl.DataFrame:
    """The rows of the metrics beyond accuracy; they are tested against nothing."""
    records = [
        (*block, row.metric, row.run, "external", row.mean, row.std, row.seeds, row.low, row.high, None)
        for block, rows in found.items()
        for row in rows
    ]
    return pl.DataFrame(records, schema=SCHEMA, orient="row")


def _in_words(block: Block, rows: Sequence[Row]) -> str:
    """The metrics beyond accuracy of one block, for the notes."""
    parts = [
        f"{run}: " + ", ".join(f"{row.metric} {row.mean:.{decimals(row.metric)}f}" for row in rows if row.run == run)
        for run in dict.fromkeys(row.run for row in rows)
    ]
    return f"{block.title('beyond accuracy (of the runs in the table beyond)')}: {'; '.join(parts)}."


def _group(block: Block, rows: Sequence[Summary]) -> Group:
    """The printed rows of one block; a metric that a model does not reach is an empty cell."""
    made: dict[tuple[str, str], Cell] = {}
    for metric in REPORTED:
        line = [row for row in rows if row.metric == metric]
        made |= {(row.run, metric): cell for row, cell in zip(line, cells(line), strict=True)}
    seeds: Mapping[str, int] = {row.run: row.seeds for row in rows}
    return Group(
        block.title(f"{rows[0].users:,} users"),
        [
            (f"{label(run)}, seeds: {count}", [made.get((run, metric), Cell()) for metric in REPORTED])
            for run, count in seeds.items()
        ],
    )
