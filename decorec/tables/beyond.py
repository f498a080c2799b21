"""Step beyond-table: what the models recommend, beyond accuracy: coverage, popularity, novelty, diversity, repeats."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.lists import LISTS
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.config.evaluation import EvaluateConfig
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.evaluation.list_metrics import CUTOFF, Items, Lists, coverage, gini, user_metrics
from decorec.evaluation.significance import bootstrap_interval
from decorec.progress import track
from decorec.tables.collect import Block, by_dataset
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, percent, write

__all__ = ["Row", "World", "beyond_table", "decimals", "measured_rows"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "metric", "model"), pl.String),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high"), pl.Float64),
}
Floats = npt.NDArray[np.float64]


def decimals(metric: str) -> int:
    """How many are printed: a share of all interactions is small."""
    return 6 if metric.startswith("PopularityShare") else 4


@dataclass(frozen=True)
class Row:
    """One metric of one model in one block; without an interval where it is no mean over users."""

    metric: str
    run: str
    mean: float
    std: float | None
    seeds: int
    low: float | None = None
    high: float | None = None

    def cell(self) -> Cell:
        """As it is printed."""
        digits = decimals(self.metric)
        spread = "" if self.std is None else f"{self.std:.{digits}f}"
        note = "" if self.low is None else f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return Cell(f"{self.mean:.{digits}f}", spread=spread, note=note)


@dataclass(frozen=True)
class World:
    """What the lists of a data set are measured against."""

    data: Sequences
    """Of the users who have a test target."""
    items: Items

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.items.counts)

    @classmethod
    def read(cls, vocab: Path, sequences: Path, features: Sequence[Path]) -> World:
        """From the files of a data set.

        Raises:
            DecorecError: a file is missing or damaged.
        """
        names, data = read_vocab(vocab), Sequences.read(sequences)
        found = {file.stem: FeatureFile.read(file).aligned(names)[0] for file in features}
        return cls(data.having("test"), Items.of(data, len(names), found))

    @cached_property
    def past(self) -> npt.NDArray[np.int64]:
        """user x items + item of everything that the users had before their test items."""
        owner = self.data.owners
        before = np.arange(len(owner)) < self.data.places("test")[owner]
        return owner[before] * self.size + self.data.items[before]

    def lists(self, file: Path) -> dict[History, Lists]:
        """The first items of each user in a file of a run, [U, CUTOFF]; users in ascending order of their ids."""
        frame, users = read_table(file, LISTS), sorted(self.data.users)
        found: dict[History, Lists] = {}
        for history in HISTORIES:
            rows = frame.filter(history=history)
            if sorted(rows["user"]) != users:
                raise DecorecError(
                    f"{file}: expected a list of each of {len(users)} users (history {history}), found "
                    f"{len(rows)} lists, or other users; run the step evaluate again on these sequences"
                )
            ordered = pl.DataFrame({"user": users}).join(rows, on="user", maintain_order="left")["items"]
            padded = np.full((len(ordered), CUTOFF), -1, dtype=np.int32)
            lengths = np.minimum(ordered.list.len().to_numpy(), CUTOFF)
            padded[np.arange(CUTOFF) < lengths[:, None]] = ordered.list.head(CUTOFF).explode().drop_nulls().to_numpy()
            if padded.min() < -1 or padded.max() >= self.size:
                raise DecorecError(
                    f"{file}: expected items from 0 to {self.size - 1}, found {padded.min()} to {padded.max()} "
                    f"(history {history}); run the step evaluate again on this vocabulary"
                )
            found[history] = padded
        return found

    def measured(self, history: History, lists: Lists) -> tuple[dict[str, float], dict[str, Floats]]:
        """Of the lists of one seed: metrics of all lists together, and metrics of each list that is not empty."""
        inside = lists >= 0
        filled = inside.any(1)  # masked, a user who had everything has no list, by any model
        together = {"Coverage": coverage(lists, self.size), "Gini": gini(lists, self.size)}
        users = user_metrics(lists[filled], self.items)
        if history == "kept":  # masked, there are none
            pairs = np.argsort(self.data.users)[:, None] * self.size + lists
            users["Repeats"] = ((np.isin(pairs, self.past) & inside).sum(1) / inside.sum(1))[filled]
        return together, users


def measured_rows(
    run: str, seeds: Sequence[tuple[dict[str, float], dict[str, Floats]]], evaluate: EvaluateConfig
) -> list[Row]:
    """One row per metric of a model in one block, from what was ``World.measured`` of its seeds."""

    def spread(values: Sequence[float]) -> tuple[float, float | None, int]:
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return float(np.mean(values)), std, len(values)

    rows = [Row(f"{name}@{CUTOFF}", run, *spread([found[name] for found, _ in seeds])) for name in seeds[0][0]]
    names = list(seeds[0][1])
    users = np.stack([[found[name] for name in names] for _, found in seeds])  # [S, M, U]
    low, high = bootstrap_interval(users.mean(0).T, resamples=evaluate.bootstrap, level=evaluate.level)
    for index, name in enumerate(names):
        measured = spread(users[:, index].mean(1).tolist())
        rows.append(Row(f"{name}@{CUTOFF}", run, *measured, float(low[index]), float(high[index])))
    return rows


def _blocks(
    files: Mapping[str, Mapping[int, Path]], dataset: str, world: World, evaluate: EvaluateConfig
) -> Iterator[tuple[Block, list[Row]]]:
    """The rows of each block of a data set, in the order metric, run."""
    rows: dict[History, list[list[Row]]] = {history: [] for history in HISTORIES}
    for run, seeds in track(files.items(), f"{dataset}: lists", unit="run"):
        lists = [world.lists(seeds[seed]) for seed in sorted(seeds)]
        for history, found in rows.items():
            if (lists[0][history] >= 0).any():  # masked, nothing is left where all users had everything
                found.append(measured_rows(run, [world.measured(history, one[history]) for one in lists], evaluate))
    for history, found in rows.items():
        if found:
            yield Block(dataset, history), [row for metric in zip(*found, strict=True) for row in metric]


def beyond_table(
    *,
    lists: list[Path],
    vocabs: list[Path],
    sequences: list[Path],
    features: list[Path],
    runs: list[str],
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Measure the first ten items that each run recommends, beyond accuracy.

    Args:
        lists: DATASET/runs/RUN/seed-N/lists.parquet (read) of all data sets, runs and seeds.
        vocabs: DATASET/vocab.parquet (read) of all data sets.
        sequences: DATASET/sequences.parquet (read) of all data sets.
        features: DATASET/features/MODALITY.safetensors (read) of the modalities that a data set has.
        runs: the runs, in the order of the columns.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, metric and run: dataset, history (kept or masked),
            metric, model (the run), mean (over users and seeds), std, seeds, ci_low, ci_high (over users; empty for
            Coverage and Gini, which are no means over users).
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    of_vocab, of_sequences = ({layout.dataset_of(file): file for file in found} for found in (vocabs, sequences))
    records: list[tuple[object, ...]] = []
    groups = []
    for dataset, files in by_dataset(lists, runs, layout.LISTS).items():
        if dataset not in of_vocab or dataset not in of_sequences:
            raise DecorecError(
                f"--vocabs and --sequences: expected those of the data set {dataset}, found none; pass its "
                "vocab.parquet and its sequences.parquet"
            )
        of_dataset = [file for file in features if layout.wildcards_of(file, layout.FEATURES)["dataset"] == dataset]
        world = World.read(of_vocab[dataset], of_sequences[dataset], of_dataset)
        for block, rows in _blocks(files, dataset, world, evaluate):
            records += [(*block, r.metric, r.run, r.mean, r.std, r.seeds, r.low, r.high) for r in rows]
            metrics = dict.fromkeys(row.metric for row in rows)
            lines = [(metric, [row.cell() for row in rows if row.metric == metric]) for metric in metrics]
            tail = f"{int(world.items.tail.sum()):,} of {world.size:,} items in the tail"
            groups.append(Group(block.title(f"{len(world.data.users):,} users", tail), lines))
    table = Table(
        records=pl.DataFrame(records, schema=SCHEMA, orient="row"),
        caption="What is recommended, beyond accuracy",
        columns=["Metric", *map(label, runs)],
        groups=groups,
        notes=[
            f"The first {CUTOFF} items of each user's test ranking. Mean over users and seeds ± standard deviation "
            f"over seeds; in brackets (html and csv): {percent(evaluate.level)} bootstrap interval over users. "
            "Coverage and Gini are properties of all lists together and have none. None of these is better when it is "
            "larger.",
            "Coverage: share of all items in some list. Gini: inequality of the items' appearances, 0 if all are "
            "equal. Popularity: training interactions of an item, also as a share of all. Novelty: -log2 of the share "
            "of users who had it. TailShare: items outside the most popular fifth. ILD: mean of 1 - cosine over pairs "
            "of the list, by the features of one modality. Repeats: items that the user had before.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d files of lists in, %d rows out", csv, len(lists), len(records))
