"""Interactions as read from a source, with counts of what was read, dropped and repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.data.id_codes import categories, distinct, numbers
from decorec.errors import DecorecError

__all__ = [
    "RECORD",
    "SHOWN",
    "Account",
    "Examples",
    "Interactions",
    "complete",
    "examples",
    "examples_of",
    "in_one_piece",
    "rated",
    "repeated",
    "shortened",
]

REQUIRED = ("user", "item", "timestamp")
SHOWN = 3
"""Number of records that a message shows."""
LONGEST = 80
"""Longest text of one of them."""
RECORD = "record"
"""Column of the number of a row in its source, from 1."""

Examples = Callable[[], list[str]]
"""Shows some records; called for messages only."""


@dataclass(frozen=True)
class Account:
    """Counts of what was read from a source, and of records dropped or repaired, by reason."""

    summary: dict[str, int]
    """What was read: "records", of which "lines" (if given) are the lines, also those that are no records."""
    dropped: dict[str, int]
    repaired: dict[str, int]
    examples: Mapping[str, Examples] = field(default_factory=dict)
    """Reason -> shows the first records that were dropped for it."""

    def such_as(self, reason: str) -> str:
        """The end of a sentence that shows records dropped for ``reason``; "" where none can be shown."""
        shown = self.examples[reason]() if reason in self.examples else []
        return f", such as {'; '.join(shown)}" if shown else ""


def shortened(text: str, longest: int = LONGEST) -> str:
    """``text`` in at most ``longest`` characters."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


@dataclass(frozen=True)
class Interactions:
    """Interactions in the order of the source.

    ``rows``: user and item (each a column of categories of its own), rating (float32, null where unknown) and timestamp
    (int64, ``per_second`` units in a second). ``user`` and ``item``: the numbers of the categories, [interactions].
    """

    rows: pl.DataFrame
    per_second: int

    @property
    def user(self) -> npt.NDArray[np.int32]:
        return numbers(self.rows["user"])

    @property
    def item(self) -> npt.NDArray[np.int32]:
        return numbers(self.rows["item"])

    @property
    def items(self) -> pl.Series:
        """The ids of the items by their numbers; also of some that are in no row."""
        return categories(self.rows["item"])

    def table(self, left: npt.NDArray[np.bool_]) -> pl.DataFrame:
        """The table user, item, rating, timestamp (seconds) of the interactions that are ``left``.

        Rows keep the order of the source; where times are finer than a second, which the table does not hold, they are
        ordered by time.
        """
        flags = pl.Series(left)
        # In one piece: how a table is cut in memory can be seen in the bytes of its file.
        rows = pl.DataFrame([column.filter(flags).rechunk() for column in self.rows])
        if (rows["timestamp"] % self.per_second != 0).any():
            rows = rows.sort("timestamp", maintain_order=True)
        return rows.with_columns(pl.col("timestamp") // self.per_second)


def in_one_piece(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of a table that was read in parts, each in one piece; ``frame`` loses them, one after the other."""
    return pl.DataFrame([frame.drop_in_place(name).rechunk() for name in frame.columns])


def complete(
    frame: pl.DataFrame,
    account: Account,
    per_second: int,
    origin: str,
    expected: str,
    written: pl.DataFrame | None = None,
) -> tuple[Interactions, Account]:
    """Drop rows without user, item or timestamp, counted by the first one that is missing.

    Args:
        frame: user, item (categories), rating (float32), timestamp (int64).
        account: of what was read so far.
        per_second: number of units of the timestamp in a second.
        origin: the file, for messages.
        expected: the content that is expected, for messages.
        written: the same rows as the file has them, for messages; default: ``frame``.

    Raises:
        DecorecError: no row is left.
    """
    lost = Counter(account.dropped)
    shown = {**_examples(frame, frame if written is None else written), **account.examples}
    filled = pl.repeat(True, len(frame), eager=True)
    for name in REQUIRED:
        lost[f"no {name}"] = len((filled & frame[name].is_null()).arg_true())
        filled &= frame[name].is_not_null()
    if not filled.all():
        frame = frame.filter(filled)
    if frame.is_empty():
        reasons = {reason: count for reason, count in lost.items() if count}
        counted = ", ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "the file is empty"
        such_as = "".join(Account({}, {}, {}, shown).such_as(reason) for reason in list(reasons)[:1])
        raise DecorecError(
            f"{origin}: expected {expected}, found none ({counted}){such_as}; check that it is the right file"
        )
    found = Interactions(frame, per_second)
    summary = {**account.summary, "users": distinct(found.user), "items": distinct(found.item)}
    repaired = {reason: count for reason, count in account.repaired.items() if count}
    return found, Account(summary, dict(lost), repaired, shown)


def _examples(frame: pl.DataFrame, written: pl.DataFrame) -> dict[str, Examples]:
    """Reason -> shows the first rows that lack one of the required values, as they are ``written``."""
    before, found = pl.repeat(True, len(frame), eager=True), {}
    for name in REQUIRED:
        if frame[name].null_count():
            found[f"no {name}"] = examples(written, before & frame[name].is_null(), ("user", "item"))
            before &= frame[name].is_not_null()
    return found


def examples(frame: pl.DataFrame, lost: pl.Series, names: Sequence[str]) -> Examples:
    """Shows the first rows of ``frame`` where ``lost`` is true: their numbers from 1, and their values of ``names``."""
    places = lost.arg_true().head(SHOWN)
    return examples_of(frame.select(names)[places].with_columns((places + 1).alias(RECORD)))


def examples_of(rows: pl.DataFrame) -> Examples:
    """Shows the first of the ``rows``, which have their numbers in the source in the column ``RECORD``."""
    rows = rows.head(SHOWN)

    def show() -> list[str]:
        values = ({name: value for name, value in row.items() if value is not None} for row in rows.to_dicts())
        return [
            f"record {row.pop(RECORD)}: "
            + shortened(", ".join(f"{name} {value!r}" for name, value in row.items()) or "nothing")
            for row in values
        ]

    return show


def rated(found: Interactions, least: float, origin: str, unreadable: float) -> tuple[Interactions, dict[str, int]]:
    """The interactions with a rating of at least ``least``, and how many others there are, by reason.

    Args:
        found: interactions of the file ``origin``.
        least: the key filter.least_rating.
        origin: the file, for messages.
        unreadable: largest share of them whose rating may be unknown.

    Raises:
        DecorecError: there are more, or none has such a rating.
    """
    ratings = found.rows["rating"].fill_nan(None)
    unknown, known = ratings.null_count(), ratings.drop_nulls().to_numpy()
    if unknown > unreadable * len(ratings):
        raise DecorecError(
            f"{origin}: expected the rating of every interaction, as filter.least_rating is {least:g}, found none or "
            f"no number of {unknown} of {len(ratings)}; correct the column rating, or take filter.least_rating out"
        )
    stay = (ratings >= least).fill_null(False)
    if not stay.any():
        raise DecorecError(
            f"{origin}: expected ratings of at least {least:g} (filter.least_rating), found {known.min():g} to "
            f"{known.max():g}; lower the key"
        )
    rows = found.rows.filter(stay)
    lost = {f"rated below {least:g}": len(known) - len(rows), "rating not known": unknown}
    return Interactions(in_one_piece(rows), found.per_second), lost


def repeated(found: Interactions, kind: Literal["exact", "pair"]) -> npt.NDArray[np.bool_]:
    """Which interactions repeat another one that stays, [interactions].

    Kind "exact": equal user, item, rating and timestamp; the first one in the source stays. Kind "pair": equal user and
    item; the earliest one stays, and of several at the same time the first one in the source.
    """
    from decorec.data.kernels import possible_repeats

    item = found.item
    pair = found.user * np.int64(int(item.max()) + 1)
    pair += item
    # Eight to sixteen marks per interaction: one row in ten is marked by chance.
    rows = np.flatnonzero(possible_repeats(pair, np.zeros(1 << len(pair).bit_length(), np.uint8)))
    marked = found.rows.select("rating", "timestamp")[rows]
    table = marked.with_columns(row=pl.Series(rows), pair=pl.Series(pair[rows]))
    key = ["pair"] if kind == "pair" else ["pair", "rating", "timestamp"]
    ranked = table.sort("timestamp", "row") if kind == "pair" else table
    stay = ranked.unique(key, keep="first", maintain_order=True)["row"].to_numpy()
    again = np.zeros(len(pair), dtype=bool)
    again[rows] = True
    again[stay] = False
    return again
