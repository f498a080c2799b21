"""Where the test targets stand in recommendations that another program has made.

Nothing is guessed: users and items must be those of the data set, every user must be there, and a metric is known only
as far down as the shortest list goes.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.acquire.sources import columns
from decorec.acquire.sources.files import table_file
from decorec.acquire.sources.tables import Table
from decorec.artifacts.schemas.ranks import History
from decorec.config.external import ExternalConfig
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.evaluation.list_metrics import CUTOFF, Lists
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.rank_metrics import Ranks

__all__ = ["Recommended", "Standing", "Targets"]

log = logging.getLogger("decorec")
WANTED = ("user", "item", "target", "rank", "score")
FORM = "user, item and rank or score (lists), or user, target and rank (places)"
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recommended:
    """Recommendations as they are written. ``name``: what the configuration calls them."""

    path: Path
    name: str
    section: ExternalConfig
    rows: pl.DataFrame
    """user, item (or target), and what orders them (float64)."""

    @classmethod
    def read(cls, path: Path, name: str, section: ExternalConfig) -> Recommended:
        """Read a table of lists or of places.

        Raises:
            DecorecError: the file is missing or damaged, has other columns, a row without an id or a number, or scores
                that look like distances.
        """
        table = Table(table_file(path), section.names, key=f"external.{name}.columns")
        with table.opened("a table of recommendations", WANTED, ("user",)) as (lazy, _):
            schema = lazy.collect_schema()
            item = next((one for one in ("item", "target") if one in schema), None)
            order = next((one for one in ("rank", "score") if one in schema), None)
            if item is None or order is None or (item, order) == ("target", "score"):
                raise DecorecError(
                    f"{path}: expected the columns {FORM}, found of these {', '.join(schema.names())}; add the others, "
                    f"or say what they are called in external.{name}.columns"
                )
            for column in ("user", item):
                table.expect_id(lazy, column, schema[column])
            ids = map(columns.identified, ("user", item))
            rows = lazy.select(*ids, pl.col(order).cast(pl.Float64, strict=False)).collect(engine="streaming")
        table.file.expect_records(len(rows))
        of_rank = (pl.col(order) >= 1) & (pl.col(order) == pl.col(order).round()) if order == "rank" else pl.lit(True)
        good = pl.col("user").is_not_null() & pl.col(item).is_not_null() & pl.col(order).is_finite() & of_rank
        wrong = rows.filter(~good.fill_null(False))
        if len(wrong) or rows.is_empty():
            number = "a whole rank from 1 on" if order == "rank" else "a score"
            found = f"{len(wrong)} others, such as {wrong.row(0)}" if len(wrong) else "none"
            raise DecorecError(f"{path}: expected rows with {' and '.join(('user', item))} and {number}, found {found}")
        if order == "score":
            _expect_the_largest_first(path, rows)
        return cls(path, name, section, rows)

    @property
    def item(self) -> str:
        """The column of items: item, or target where the rows are places."""
        return self.rows.columns[1]

    def place(self, column: str) -> str:
        """A column of ours in the file, for messages."""
        return f"{self.path}, column {self.section.names.get(column, column)!r}"

    def numbers(self, column: str, known: list[str], what: str) -> IntArray:
        """The number of each id of ``column`` among ``known``, -1 where it is none.

        Raises:
            DecorecError: none of them is known.
        """
        numbers = pl.DataFrame({"id": pl.Series(known, dtype=pl.String), "number": np.arange(len(known))})
        found = self.rows.select(id=column).join(numbers, on="id", how="left", maintain_order="left")["number"]
        if found.null_count() == len(found):
            raise DecorecError(
                f"{self.place(column)}: expected {what}, such as {known[0]!r}, found others alone, such as "
                f"{self.rows[column][0]!r}; write the ids of the data set, not the numbers of the other program"
            )
        result: IntArray = found.fill_null(-1).to_numpy().astype(np.int64)
        return result


def _expect_the_largest_first(path: Path, rows: pl.DataFrame) -> None:
    """Refuse scores that rise along the rows of every user: programs write the best first, so that is the smallest."""
    each = rows.group_by("user").agg(
        rising=(pl.col("score").diff().drop_nulls() >= 0).all() & (pl.col("score").n_unique() > 1),
        long=pl.len() >= CUTOFF,
    )
    if each["rising"].all() and each["long"].all():
        raise DecorecError(
            f"{path}: expected scores, the largest of which is the best, found scores that rise from row to row of "
            "every user, as distances do; write ranks in their place or, if they are right, the largest first"
        )


@dataclass(frozen=True)
class Standing:
    """Where the targets stand, with one treatment of the history."""

    ranks: Ranks
    """[U], in the order of the users; behind every cut-off where the target is in no list."""
    depth: float
    """Largest cut-off of a metric that is known; infinite where whole rankings are."""
    first: Lists | None = None
    """[U, CUTOFF] the first items of each list; of equal scores, the items in the order of the vocabulary. None where
    the lists are not known, or one of them is too short."""


@dataclass(frozen=True)
class Targets:
    """The users of a data set who have a test target, and all items."""

    data: Sequences
    items: list[str]

    @classmethod
    def read(cls, vocab: Path, sequences: Path) -> Targets:
        """From the files of the data set.

        Raises:
            DecorecError: a file is missing or damaged.
        """
        return cls(Sequences.read(sequences).having("test"), read_vocab(vocab))

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.items)

    @cached_property
    def past(self) -> IntArray:
        """user x items + item of all that the users had before their targets, ascending, each pair once."""
        owner = self.data.owners
        before = np.arange(len(owner)) < self.data.places("test")[owner]
        return np.unique(owner[before] * self.size + self.data.items[before])

    @cached_property
    def repeats(self) -> int:
        """Number of users who had their target before."""
        users = np.arange(len(self.data.users))
        return int(np.isin(users * self.size + self.data.targets("test"), self.past).sum())

    def find(self, given: Recommended) -> dict[History, Standing]:
        """Where the targets stand in ``given``, for each treatment of the history that it tells of.

        Raises:
            DecorecError: it lacks a user, has items that the data set does not have or other targets, an item or a rank
                of a user twice, or a history that cannot have been kept.
        """
        user = given.numbers("user", self.data.users, "users with a test target")
        item = given.numbers(given.item, self.items, "items of vocab.parquet")
        self._expect_everyone(given, user)
        known = user >= 0
        unknown = given.rows[given.item].filter(pl.Series(known & (item < 0)))
        if len(unknown):
            raise DecorecError(
                f"{given.place(given.item)}: expected items of vocab.parquet, found {unknown.n_unique()} others, such "
                f"as {unknown[0]!r}{_alike(unknown[0], self.items)}; let the other program rank the items of the data "
                "set, and no others"
            )
        user, item, by = user[known], item[known], given.rows.to_series(2).to_numpy()[known]
        if given.item == "target":
            return {given.section.history: self._of_places(given, user, item, by)}
        return self._of_lists(given, user, item, by)

    def _expect_everyone(self, given: Recommended, user: IntArray) -> None:
        """Refuse recommendations for some of the users: a mean over others cannot be compared."""
        there = np.bincount(user[user >= 0], minlength=len(self.data.users)) > 0
        if not there.all():
            lost = self.data.users[int(there.argmin())]
            raise DecorecError(
                f"{given.place('user')}: expected each of {len(there)} users with a test target, found {there.sum()} of"
                f" them, and not {lost!r}{_alike(lost, given.rows['user'].unique())}; give each one a list, such as "
                "the most popular items where the other program has none"
            )
        if others := given.rows["user"].filter(pl.Series(user < 0)).n_unique():
            log.info("external: %s: %d users without a test target passed over", given.path, others)

    def _of_places(self, given: Recommended, user: IntArray, item: IntArray, rank: npt.NDArray[np.float64]) -> Standing:
        """From the rank of each target."""
        _expect_distinct(given, self.data.users, user, np.zeros_like(user), "user")
        targets = self.data.targets("test")[user]
        wrong = np.flatnonzero((item != targets) | (rank > self.size))
        if len(wrong):
            row = int(wrong[0])
            raise DecorecError(
                f"{given.path}: expected of user {self.data.users[user[row]]!r} the target "
                f"{self.items[targets[row]]!r} and a rank of at most {self.size}, found {self.items[item[row]]!r} and "
                f"{rank[row]:g} ({len(wrong)} such users); rank the test targets of sequences.parquet among the items "
                "of the data set"
            )
        higher = np.empty_like(user)
        higher[user] = rank.astype(np.int64) - 1
        return Standing(Ranks(higher, np.zeros_like(higher)), math.inf)

    def _of_lists(
        self, given: Recommended, user: IntArray, item: IntArray, by: npt.NDArray[np.float64]
    ) -> dict[History, Standing]:
        _expect_distinct(given, self.data.users, user, item, "item")
        if given.rows.columns[2] == "rank":
            _expect_distinct(given, self.data.users, user, by.astype(np.int64), "rank")
        else:
            by = -by
        had = np.isin(user * self.size + item, self.past)
        counts = np.bincount(self.past // self.size, minlength=len(self.data.users))
        found: dict[History, Standing] = {}
        if given.section.history == "kept":
            if not had.any():
                raise DecorecError(
                    f"{given.path}: expected lists with the history kept, found no list with an item of its user's "
                    f"history, as if these were left out; write external.{given.name}.history: masked, or make the "
                    "lists again"
                )
            found["kept"] = self._standing(user, item, by, np.full_like(counts, self.size))
        elif had.any():
            log.warning("external: %s: left out %d items of the users' histories", given.path, had.sum())
        stays = ~had | (item == self.data.targets("test")[user])
        found["masked"] = self._standing(user[stays], item[stays], by[stays], self.size - counts)
        return found

    def _standing(self, user: IntArray, item: IntArray, by: npt.NDArray[np.float64], whole: IntArray) -> Standing:
        """From lists, what has the smallest ``by`` first. ``whole`` [U]: length of a list that lacks no item."""
        users = len(self.data.users)
        at = item == self.data.targets("test")[user]
        own = np.full(users, np.nan)
        own[user[at]] = by[at]
        there, own = ~np.isnan(own), own[user]
        higher, same = (np.bincount(user[part], minlength=users) for part in (by < own, by == own))
        # Of fewer items than a cut-off, the place behind the last one would still be a hit.
        missed = max(self.size, *(parse_metric(metric).cutoff for metric in REPORTED))
        ranks = Ranks(np.where(there, higher, missed), np.where(there, same - 1, 0))
        lengths = np.bincount(user, minlength=users)
        depth = float(np.where(lengths >= whole, math.inf, lengths).min())
        return Standing(ranks, depth, _first(user, item, by, lengths) if depth >= CUTOFF else None)


def _first(user: IntArray, item: IntArray, by: npt.NDArray[np.float64], lengths: IntArray) -> Lists:
    """The first CUTOFF items of each list, -1 where it has fewer."""
    order = np.lexsort([item, by, user])
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = np.full((len(lengths), CUTOFF), -1, np.int32)
    kept = place < CUTOFF
    found[user[order][kept], place[kept]] = item[order][kept]
    return found


def _expect_distinct(given: Recommended, users: list[str], user: IntArray, value: IntArray, what: str) -> None:
    """Refuse a pair of user and value that is there twice."""
    order = np.lexsort([value, user])
    again = np.flatnonzero((np.diff(user[order]) == 0) & (np.diff(value[order]) == 0))
    if len(again):
        raise DecorecError(
            f"{given.path}, user {users[user[order[again[0]]]]!r}: expected each {what} once, found one twice "
            f"({len(again)} such rows); take the repeated rows out"
        )


def _alike(one: str, others: list[str] | pl.Series) -> str:
    """An id among ``others`` that differs in zeros in front alone, for messages."""
    same = next((other for other in others if other != one and other.lstrip("0") == one.lstrip("0")), None)
    return "" if same is None else f" (but {same!r}: write ids as text)"
