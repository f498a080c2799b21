"""Interactions as read from a source, with counts of what was read, dropped and repaired."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.data.id_codes import Codes, factorise
from decorec.errors import DecorecError

__all__ = ["Account", "Interactions", "complete", "repeated"]

REQUIRED = ("user", "item", "timestamp")


@dataclass(frozen=True)
class Account:
    """Counts of what was read from a source, and of records dropped or repaired, by reason."""

    summary: dict[str, int]
    dropped: dict[str, int]
    repaired: dict[str, int]


@dataclass(frozen=True)
class Interactions:
    """Interactions in the order of the source.

    ``user``, ``item`` [interactions]: positions in ``users`` and ``items``, the distinct ids in order of first
    appearance. ``rating``: float32, null where unknown. ``timestamp``: int64, ``per_second`` units in a second.
    """

    user: Codes
    item: Codes
    users: pl.Series
    items: pl.Series
    rating: pl.Series
    timestamp: pl.Series
    per_second: int

    def table(self, rows: Codes) -> pl.DataFrame:
        """The table user, item, rating, timestamp (seconds) of some interactions.

        Rows keep the order of the source; where times are finer than a second, which the table does not hold, they are
        ordered by time.
        """
        fine = self.timestamp.gather(rows)
        if (fine % self.per_second != 0).any():
            rows = rows[np.argsort(fine.to_numpy(), kind="stable")]
        columns = {
            "user": self.users.gather(self.user[rows]),
            "item": self.items.gather(self.item[rows]),
            "rating": self.rating.gather(rows),
            "timestamp": self.timestamp.gather(rows) // self.per_second,
        }
        return pl.DataFrame(columns)


def complete(
    frame: pl.DataFrame, account: Account, per_second: int, origin: str, expected: str
) -> tuple[Interactions, Account]:
    """Drop rows without user, item or timestamp, counted by the first one that is missing, and number the ids.

    Args:
        frame: user, item (strings), rating (float32), timestamp (int64).
        account: of what was read so far.
        per_second: number of units of the timestamp in a second.
        origin: the file, for messages.
        expected: the content that is expected, for messages.

    Raises:
        DecorecError: no row is left.
    """
    lost = Counter(account.dropped)
    for name in REQUIRED:
        filled = frame.filter(pl.col(name).is_not_null()) if frame[name].null_count() else frame
        lost[f"no {name}"] = len(frame) - len(filled)
        frame = filled
    if frame.is_empty():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in lost.items() if count) or "the file is empty"
        raise DecorecError(f"{origin}: expected {expected}, found none ({reasons}); check that it is the right file")
    # One after the other: together, their tables would take more memory than the data.
    user, users = factorise(frame["user"])
    item, items = factorise(frame["item"])
    summary = {**account.summary, "users": len(users), "items": len(items)}
    repaired = {reason: count for reason, count in account.repaired.items() if count}
    found = Interactions(user, item, users, items, frame["rating"], frame["timestamp"], per_second)
    return found, Account(summary, dict(lost), repaired)


def repeated(found: Interactions, kind: Literal["exact", "pair"]) -> npt.NDArray[np.bool_]:
    """Which interactions repeat another one that stays, [interactions].

    Kind "exact": equal user, item, rating and timestamp; the first one in the source stays. Kind "pair": equal user and
    item; the earliest one stays, and of several at the same time the first one in the source.
    """
    from decorec.data.kernels import possible_repeats

    pair = found.user * len(found.items) + found.item
    # Eight to sixteen marks per interaction: one row in ten is marked by chance.
    rows = np.flatnonzero(possible_repeats(pair, np.zeros(1 << len(pair).bit_length(), np.uint8)))
    table = pl.DataFrame(
        {
            "row": rows,
            "pair": pair[rows],
            "rating": found.rating.gather(rows),
            "timestamp": found.timestamp.gather(rows),
        }
    )
    key = ["pair"] if kind == "pair" else ["pair", "rating", "timestamp"]
    ranked = table.sort("timestamp", "row") if kind == "pair" else table
    stay = ranked.unique(key, keep="first", maintain_order=True)["row"].to_numpy()
    again = np.zeros(len(pair), dtype=bool)
    again[rows] = True
    again[stay] = False
    return again
