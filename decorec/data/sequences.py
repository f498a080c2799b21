"""Users' sequences as one flat array; reads and writes vocab.parquet and sequences.parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_table, write_table
from decorec.data.contract import check_vocab, promise
from decorec.errors import DecorecError

__all__ = ["Sequences", "check_sequences", "read_vocab", "write_vocab"]

HELD_OUT = 2
"""Leave-one-out: the last item of a user is the test item, the one before it the validation item."""


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
    ``items[offsets[u]:offsets[u + 1]]``. ``timestamps`` [interactions] int64 seconds, or None where unknown.
    """

    users: list[str]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64] | None = None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Items per user, [users]."""
        return np.diff(self.offsets)

    def training(self) -> Sequences:
        """The training part: every user's sequence without its last two items.

        Raises:
            DecorecError: a user has fewer than three items.
        """
        lengths = self.lengths
        if len(lengths) and lengths.min() <= HELD_OUT:
            user = self.users[int(lengths.argmin())]
            raise DecorecError(
                f"sequences: expected at least 3 items per user (training, validation, test), found {lengths.min()} "
                f"for user {user!r}; raise filter.kcore"
            )
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], lengths)
        keep = position < np.repeat(lengths - HELD_OUT, lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths - HELD_OUT)])
        timestamps = None if self.timestamps is None else self.timestamps[keep]
        return Sequences(self.users, offsets, self.items[keep], timestamps)

    def write(self, path: Path) -> None:
        """Write user, items (list of int32), timestamps (list of int64 or of nulls)."""
        times: Any = self.timestamps
        flat = pl.DataFrame(
            {
                "row": np.repeat(np.arange(len(self.users)), self.lengths),
                "items": pl.Series(self.items, dtype=pl.Int32),
                "timestamps": pl.Series(times if times is not None else [None] * len(self.items), dtype=pl.Int64),
            }
        )
        lists = flat.group_by("row", maintain_order=True).agg("items", "timestamps")
        write_table(path, lists.select(pl.Series("user", self.users, dtype=pl.String), "items", "timestamps"))

    @classmethod
    def read(cls, path: Path) -> Sequences:
        """Read a file written by :meth:`write`.

        Raises:
            DecorecError: the file is not a table of sequences.
        """
        columns: dict[str, Any] = {"user": pl.String, "items": pl.List(pl.Int32), "timestamps": pl.List(pl.Int64)}
        table = read_table(path, columns)
        lengths = table["items"].list.len().to_numpy().astype(np.int64)
        times = table["timestamps"].explode()
        return cls(
            users=table["user"].to_list(),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            items=table["items"].explode().to_numpy().astype(np.int32, copy=False),
            timestamps=None if times.null_count() else times.to_numpy(),
        )


def check_sequences(path: Path, sequences: Sequences, items: int, complete: bool) -> None:
    """Every user once, with three items or more; all items if ``complete``; times that do not fall."""
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
