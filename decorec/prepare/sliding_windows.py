"""Rebuilds complete sequences from the sliding windows of a leave-one-out split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.data.sequences import Sequences
from decorec.errors import DecorecError

__all__ = ["PARTS", "rebuild"]

PARTS = ("train", "valid", "test")
"""Order of the parts within a user's sequence."""


def rebuild(rows: Mapping[str, pl.DataFrame], users: list[str], origin: str) -> Sequences:
    """Sequences from rows (user, history, target) per part.

    A user of n items has n - 3 training rows (targets 2 to n - 2), one validation row and one test row; a history
    holds the items before its target, at most the last 50. Training rows may be sorted with the longest or with the
    shortest history first. Every row is checked against the rebuilt sequence.

    Args:
        rows: per part, columns user, history (list) and target, int64.
        users: user ids in the order of their index.
        origin: stem of the files, for messages.

    Raises:
        DecorecError: a user's rows do not belong to one sequence, or a user has no rows.
    """
    table = _in_order(rows)
    user, target = table["user"].to_numpy(), table["target"].to_numpy()
    lengths = np.bincount(user, minlength=len(users)) + 1
    _require_parts(table, users, origin)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    position = np.arange(len(user)) - (offsets[user] - user) + 1
    items = np.empty(offsets[-1], dtype=np.int64)
    items[offsets[user] + position] = target
    first = position == 1
    items[offsets[user[first]]] = table["history"].list.first().to_numpy()[first]
    _check(table, user, position, offsets, items, users, origin)
    return Sequences(users, offsets, items.astype(np.int32))


def _in_order(rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """All rows, user by user, oldest target first.

    Among histories of the full length, the order of the file decides, or its reverse if the user's longest history is
    the first one.
    """
    parts = [rows[part].with_columns(part=pl.lit(number)) for number, part in enumerate(PARTS)]
    table = pl.concat(parts).with_row_index("line").with_columns(length=pl.col("history").list.len().cast(pl.Int64))
    falling = pl.col("length").first().over("user", "part") > pl.col("length").last().over("user", "part")
    line = pl.col("line").cast(pl.Int64)
    return table.with_columns(turn=pl.when(falling).then(-line).otherwise(line)).sort("user", "part", "length", "turn")


def _require_parts(table: pl.DataFrame, users: list[str], origin: str) -> None:
    """Check that each user has one validation row and one test row."""
    for number, part in enumerate(PARTS[1:], start=1):
        counts = np.bincount(table.filter(part=number)["user"].to_numpy(), minlength=len(users))
        wrong = np.flatnonzero(counts != 1)
        if len(wrong):
            raise DecorecError(
                f"{origin}.{part}.inter: expected one row for each of {len(users)} users, found {counts[wrong[0]]} "
                f"for user {wrong[0]} ({users[wrong[0]]!r}); {len(wrong)} such users; write the split again"
            )


def _check(
    table: pl.DataFrame,
    user: npt.NDArray[np.int64],
    position: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    users: list[str],
    origin: str,
) -> None:
    """Check that every history equals the items before its target, cut to the largest length."""
    length = table["length"].to_numpy()
    agrees = length == np.minimum(position, length.max())
    history = table["history"].explode().to_numpy()
    ends = np.cumsum(length)
    row = np.repeat(np.arange(len(length)), length)
    place = (offsets[user] + position)[row] - (ends[row] - np.arange(len(history)))
    # A row of the wrong length may point before its user's first item; it is known to be wrong, so any position does.
    differs = items[np.clip(place, 0, None)] != history
    agrees[row[differs]] = False
    wrong = np.flatnonzero(~agrees)
    if len(wrong):
        bad = int(wrong[0])
        part = PARTS[table["part"][bad]]
        raise DecorecError(
            f"{origin}.{part}.inter: expected the leave-one-out windows of one sequence per user (last item = test, "
            f"the one before = validation), found that a history of {length[bad]} items of user {user[bad]} "
            f"({users[user[bad]]!r}) differs from the items before its target; {len(wrong)} such rows; write the "
            "split again"
        )
