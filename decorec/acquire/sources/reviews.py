"""Interactions from the reviews of Amazon 2018 (also the sample shop's format) and 2023."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from decorec.acquire.json_lines import read_records
from decorec.acquire.sources.losses import lines_not_json
from decorec.data.id_codes import ids
from decorec.data.interactions import Account, Interactions, complete, in_one_piece

__all__ = ["AmazonFormat", "read_reviews"]

AmazonFormat = Literal["amazon2018", "amazon2023"]


@dataclass(frozen=True)
class _Fields:
    user: str
    item: str
    rating: str
    time: str
    date: str
    per_second: int
    """Units of ``time`` per second."""


FIELDS: dict[AmazonFormat, _Fields] = {
    "amazon2018": _Fields("reviewerID", "asin", "overall", "unixReviewTime", "reviewTime", 1),
    "amazon2023": _Fields("user_id", "parent_asin", "rating", "timestamp", "date", 1_000),
}


def read_reviews(path: Path, source: AmazonFormat) -> tuple[Interactions, Account]:
    """Users, items, ratings (null where absent) and times of all reviews, in the order of the file.

    A review without a time uses its date ("06 17, 2018"), if there is one. Times keep the resolution of the file.

    Raises:
        DecorecError: the file is missing or not gzipped JSON lines, or no record has a user, an item and a time.
    """
    fields = FIELDS[source]
    time = _integer(fields.time)
    user, item = (_filled(name).cast(ids()) for name in (fields.user, fields.item))
    expected = f"reviews with {fields.user}, {fields.item} and {fields.time}"
    frame, counts = read_records(
        path,
        [fields.user, fields.item, fields.rating, fields.time, fields.date],
        expected,
        lambda records: records.select(
            user=user,
            item=item,
            rating=pl.col(fields.rating).cast(pl.Float32, strict=False),
            timestamp=time,
            date=pl.when(time.is_null()).then(pl.col(fields.date)),
        ),
    )
    frame, dated = _dated(in_one_piece(frame), fields.per_second)
    account = Account(
        {"lines": counts["lines"], "records": len(frame)},
        {name: counts[name] for name in ("not JSON", "line too long")},
        {"undecodable characters": counts["undecodable characters"], "time from date": dated},
        {"not JSON": partial(lines_not_json, path)},
    )
    return complete(frame, account, fields.per_second, str(path), expected)


def _dated(frame: pl.DataFrame, per_second: int) -> tuple[pl.DataFrame, int]:
    """Fill in times from dates; returns the frame without dates and how many times were filled in."""
    absent = frame["timestamp"].null_count()
    if frame["date"].null_count() < len(frame):
        day = pl.col("date").str.to_date("%m %d, %Y", strict=False).dt.epoch("s") * per_second
        frame = frame.with_columns(timestamp=pl.coalesce("timestamp", day))
    return frame.drop("date"), absent - frame["timestamp"].null_count()


def _filled(name: str) -> pl.Expr:
    """An id without blanks around it; null if there is none."""
    stripped = pl.col(name).str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def _integer(name: str) -> pl.Expr:
    """A whole number in any notation; null if the value is not one."""
    column = pl.col(name)
    return pl.coalesce(
        column.cast(pl.Int64, strict=False), column.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    )
