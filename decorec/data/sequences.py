"""Users' sequences as one flat array; reads and writes vocab.parquet and sequences.parquet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_table, write_table
from decorec.data.contract import check_vocab, promise
from decorec.data.parts import Parts, Split, leave_one_out, whole
from decorec.errors import DecorecError

__all__ = ["Sequences", "check_sequences", "read_vocab", "write_vocab"]

IntArray = npt.NDArray[np.int64]
COLUMNS: dict[str, Any] = {
    "user": pl.String,
    "items": pl.List(pl.Int32),
    "timestamps": pl.List(pl.Int64),
    "training": pl.Int32,
    "valid": pl.Int32,
    "test": pl.Int32,
}
"""sequences.parquet. training: number of items in the training part, a user's first ones. valid, test: position (from
0) of the target in the user's items, null where the user has none."""
BLOCK = 1 << 18
"""Users whose lists are made at once."""


def write_vocab(path: Path, items: list[str]) -> None:
    """Write the items of a data set; an item's row is its index."""
    check_vocab(path, items)
    index = pl.Series("index", np.arange(len(items), dtype=np.int32))
    write_table(path, pl.DataFrame([index, pl.Series("item", items, dtype=pl.String)]))


def read_vocab(path: Path) -> list[str]:
    """Items in the order of their index.

    Raises:
        DecorecError: the file is not a vocabulary, or its index is not 0, 1, 2, ...
    """
    table = read_table(path, {"index": pl.Int32, "item": pl.String})
    if not np.array_equal(table["index"].to_numpy(), np.arange(len(table))):
        raise DecorecError(
            f"{path}: expected the index 0 to {len(table) - 1} in order, found another index; run the split step again"
        )
    return table["item"].to_list()


@dataclass(frozen=True)
class Sequences:
    """Sequences of all users, oldest item first.

    ``items`` [interactions] int32 vocabulary indices, user after user; ``offsets`` [users + 1] int64: user u has
    ``items[offsets[u]:offsets[u + 1]]``. ``timestamps`` [interactions] int64 seconds, or None where unknown. ``split``:
    which of them are for training, validation and test; None: leave-one-out. ``among`` [users]: where these are some of
    the users of a data set, their numbers among all; None: all of them.
    """

    users: list[str]
    offsets: IntArray
    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64] | None = None
    split: Parts | None = None
    among: IntArray | None = None

    @property
    def numbers(self) -> IntArray:
        """Number of each user among all users of the data set, [users]."""
        return np.arange(len(self.users)) if self.among is None else self.among

    @property
    def lengths(self) -> IntArray:
        """Items per user, [users]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> IntArray:
        """The index of the user of each interaction, [interactions]."""
        return np.repeat(np.arange(len(self.users)), self.lengths)

    @cached_property
    def parts(self) -> Parts:
        """Where each user's training part ends, and which items are the targets: the one place that says so.

        Raises:
            DecorecError: the split is leave-one-out and a user has fewer than three items.
        """
        if self.split is not None:
            return self.split
        lengths = self.lengths
        if lengths.min(initial=3) < 3:
            user = self.users[int(lengths.argmin())]
            raise DecorecError(
                f"sequences: expected at least 3 items per user (training, validation, test), found {lengths.min()} "
                f"for user {user!r}; raise filter.kcore"
            )
        return leave_one_out(lengths)

    def counts(self, items: int) -> IntArray:
        """Number of interactions of each of ``items`` items, [I]."""
        return np.bincount(self.items, minlength=items)

    def training(self) -> Sequences:
        """The training part of every user's sequence, which may be empty; all of it is for training."""
        return self._until(self.parts.training)

    def _until(self, ends: IntArray) -> Sequences:
        """The first ``ends`` [users] items of each user, all of them for training."""
        kept_and_not = np.stack([ends, self.lengths - ends], axis=1).ravel()
        keep = np.repeat(np.tile([True, False], len(ends)), kept_and_not)
        timestamps = None if self.timestamps is None else self.timestamps[keep]
        offsets = np.concatenate([[0], np.cumsum(ends)])
        return Sequences(self.users, offsets, self.items[keep], timestamps, whole(ends), self.among)

    def having(self, split: Split) -> Sequences:
        """The users that have a target of ``split``, with their whole sequences."""
        there = self.parts.target(split) >= 0
        return self if there.all() else self.of(np.flatnonzero(there))

    def of(self, users: IntArray) -> Sequences:
        """The sequences of some users, by their indices."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        where = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        timestamps = None if self.timestamps is None else self.timestamps[where]
        names = [self.users[user] for user in users]
        return Sequences(names, offsets, self.items[where], timestamps, self.parts.of(users), self.numbers[users])

    def places(self, split: Split) -> IntArray:
        """Place in ``items`` of each user's target of ``split``, [users].

        The user's items before it are its history. Only where every user has one: see ``having``.
        """
        position = self.parts.target(split)
        assert (position >= 0).all(), f"a user has no target of {split}; ask for having({split!r})"
        return self.offsets[:-1] + position

    def targets(self, split: Split) -> npt.NDArray[np.int32]:
        """Each user's target of ``split``, [users]; only where every user has one."""
        return self.items[self.places(split)]

    def write(self, path: Path) -> None:
        """Write user, items (list of int32), timestamps (list of int64 or of nulls), training, valid, test."""
        lists = pl.concat([self._lists(begin) for begin in range(0, max(len(self.users), 1), BLOCK)], rechunk=True)
        parts = {name: getattr(self.parts, name) for name in ("training", "valid", "test")}
        columns = [
            pl.Series("user", self.users, dtype=pl.String),
            *lists,
            *(pl.Series(name, values, dtype=pl.Int32).replace(-1, None) for name, values in parts.items()),
        ]
        write_table(path, pl.DataFrame(columns))

    def _lists(self, begin: int) -> pl.DataFrame:
        """The columns items and timestamps of the users ``begin`` to ``begin + BLOCK``."""
        offsets = self.offsets[begin : begin + BLOCK + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        items, times = self.items[inside], None if self.timestamps is None else self.timestamps[inside]
        flat = pl.DataFrame(
            {
                "row": np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)),
                "items": pl.Series(items, dtype=pl.Int32),
                "timestamps": pl.Series([None] * len(items) if times is None else times, dtype=pl.Int64),
            }
        )
        return flat.group_by("row", maintain_order=True).agg("items", "timestamps").drop("row")

    @classmethod
    def read(cls, path: Path) -> Sequences:
        """Read a file written by :meth:`write`.

        Raises:
            DecorecError: the file is not a table of sequences, or a part lies outside of a user's items.
        """
        return cls._of(path, read_table(path, COLUMNS))

    @classmethod
    def read_training(cls, path: Path, begin: int, stop: int) -> Sequences:
        """The training part of the users ``begin`` to ``stop``, without times; of the others nothing is read.

        The seal of the file is not looked at: that would be reading all of it.

        Raises:
            DecorecError: a part lies outside of a user's items.
        """
        names = [name for name in COLUMNS if name != "timestamps"]
        rows = pl.scan_parquet(path, glob=False).slice(begin, stop - begin)
        return cls._of(path, rows.select(names).collect()).training()

    @classmethod
    def _of(cls, path: Path, table: pl.DataFrame) -> Sequences:
        """From the columns of the file, with or without timestamps."""
        lengths = table["items"].list.len().to_numpy().astype(np.int64)
        times = table["timestamps"].explode() if "timestamps" in table.columns else None
        training, valid, test = (
            table[name].fill_null(-1).to_numpy().astype(np.int64) for name in ("training", "valid", "test")
        )
        outside = (training < 0) | (np.maximum.reduce([training - 1, valid, test]) >= lengths)
        if outside.any():
            row = int(outside.argmax())
            raise DecorecError(
                f"{path}: expected the training part and the targets of a user among its items, found training "
                f"{training[row]}, valid {valid[row]} and test {test[row]} for user {table['user'][row]!r} with "
                f"{lengths[row]} items; run the split step again"
            )
        return cls(
            users=table["user"].to_list(),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            items=table["items"].explode().to_numpy().astype(np.int32, copy=False),
            timestamps=None if times is None or times.null_count() else times.to_numpy(),
            split=Parts(training, valid, test),
        )


def check_sequences(path: Path, sequences: Sequences, items: int, complete: bool) -> None:
    """Every user once, with three items or more; all items if ``complete``; times that do not fall; parts in order."""
    users, lengths, found = sequences.users, sequences.lengths, sequences.items
    promise(len(set(users)) == len(users) == len(lengths), path, "every user once")
    promise(not len(lengths) or lengths.min() >= 3, path, "three items of every user or more", lengths.min(initial=3))
    promise(int(sequences.offsets[-1]) == len(found), path, f"{len(found)} items in all", sequences.offsets[-1])
    promise(not len(found) or (found.min() >= 0 and found.max() < items), path, f"items from 0 to {items - 1}")
    unused = items - np.count_nonzero(np.bincount(found, minlength=items))
    promise(not (complete and unused), path, f"each of {items} items in a sequence", f"{unused} in none")
    if sequences.timestamps is not None and len(found):
        falls = np.diff(sequences.timestamps) < 0
        falls[sequences.offsets[1:-1] - 1] = False  # from one user to the next
        promise(not falls.any(), path, "the oldest item of a user first", f"{falls.sum()} steps back in time")
    parts = sequences.parts
    promise(
        parts.training.min(initial=0) >= 0, path, "training parts of no item or more", parts.training.min(initial=0)
    )
    begin = np.maximum(parts.training, 1)  # a target has an item before it
    for name, target in (("validation", parts.valid), ("test", parts.test)):
        inside = (target < 0) | ((target >= begin) & (target < lengths))
        promise(bool(inside.all()), path, f"{name} targets behind the training part", f"{(~inside).sum()} elsewhere")
        begin = np.maximum(begin, target + 1)
