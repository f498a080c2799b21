"""Interactions from the reviews of Amazon 2018 (also the sample shop's format) and 2023."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from decorec.interactions import Raw, drop_incomplete
from decorec.records import reading, scan_records

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


def read_reviews(path: Path, source: AmazonFormat) -> Raw:
    """Users, items, ratings (null where absent) and times of all reviews, in the order of the file.

    A review without a time, but with a date ("06 17, 2018"), gets the date. Times keep the resolution of the file.

    Raises:
        DecorecError: not gzipped JSON lines, or no record in it has a user, an item and a time.
    """
    fields = FIELDS[source]
    names = [fields.user, fields.item, fields.rating, fields.time, fields.date]
    with reading(path, "gzipped reviews"):
        records, counts = scan_records(path, names)
        time = _integer(fields.time)
        frame = records.select(
            user=_filled(fields.user),
            item=_filled(fields.item),
            rating=pl.col(fields.rating).cast(pl.Float32, strict=False),
            timestamp=time,
            date=pl.when(time.is_null()).then(pl.col(fields.date)),
        ).collect(engine="streaming")
    repaired = Counter({"undecodable characters": counts["undecodable characters"]})
    dated = frame.filter(pl.col("timestamp").is_null() & pl.col("date").is_not_null())
    if len(dated):
        day = pl.col("date").str.to_date("%m %d, %Y", strict=False).dt.epoch("s") * fields.per_second
        frame = frame.with_columns(timestamp=pl.coalesce("timestamp", day))
        repaired["time from date"] = (
            len(dated) - frame.filter(pl.col("timestamp").is_null() & pl.col("date").is_not_null()).height
        )
    summary = {"lines": counts["lines"], "records": len(frame)}
    expected = f"reviews with {fields.user}, {fields.item} and {fields.time}"
    return drop_incomplete(
        frame.drop("date"), summary, {"not JSON": counts["not JSON"]}, repaired, fields.per_second, f"{path}", expected
    )


def _filled(name: str) -> pl.Expr:
    """An id without blanks around it; null where there is none."""
    stripped = pl.col(name).str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def _integer(name: str) -> pl.Expr:
    """A whole number, however it is written; null where it is none."""
    column = pl.col(name)
    return pl.coalesce(
        column.cast(pl.Int64, strict=False), column.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    )
