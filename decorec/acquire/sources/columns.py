"""What the columns of a table may hold: ids, times, ratings, and the texts of items."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = [
    "INTERACTIONS",
    "ITEMS",
    "PER_SECOND",
    "are_clean",
    "described",
    "identified",
    "is_id",
    "is_value",
    "microseconds",
    "unread_times",
]

INTERACTIONS = ("user", "item", "timestamp", "rating")
ITEMS = ("item", "title", "brand", "category", "description", "image")
"""Our names of the columns."""
PER_SECOND = 1_000_000
LATEST = 253_402_300_800
"""The year 10,000, in seconds since 1970: what is larger counts in a smaller unit than the one that is expected."""
NOTHING = ("nan", "NaN", "NAN", "None", "none", "NULL", "null", "Null", "<NA>", "NA", "N/A")
"""Words that programs write for a missing value."""
NO_TIMES = ("", *sorted({word.lower() for word in NOTHING}), "inf", "-inf", "+inf", "infinity", "-infinity")
DATES = ("%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
"""Forms of ISO 8601; what names no zone is taken as UTC."""


def is_id(dtype: pl.DataType) -> bool:
    """Whether values of a type are ids: text or whole numbers."""
    broken = dtype.is_float() or (isinstance(dtype, pl.Decimal) and dtype.scale != 0)
    return not (broken or dtype.is_nested() or dtype == pl.Binary)


def identified(name: str) -> pl.Expr:
    """An id without blanks around it; null where there is none."""
    stripped = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when((stripped != "") & ~stripped.is_in(NOTHING)).then(stripped).alias(name)


def are_clean(ids: pl.Series) -> bool:
    """Whether ``identified`` would leave all of the ids as they are."""
    return bool((ids.str.strip_chars() == ids).all() and (ids != "").all() and not ids.is_in(NOTHING).any())


def is_value(dtype: pl.DataType, name: str) -> bool:
    """Whether a column of a type can hold times ("timestamp") or ratings ("rating")."""
    own = dtype == pl.Date or isinstance(dtype, pl.Datetime) if name == "timestamp" else dtype == pl.Boolean
    return own or dtype.is_numeric() or dtype in (pl.String, pl.Null)


def described(name: str, dtype: pl.DataType) -> pl.Expr | str:
    """A column of a table of items as text, or as lists of texts where it may hold several; else what is expected.

    Blanks around names of pictures are removed here, those around other texts when they are cleaned. Categories may be
    numbers.
    """
    column, several = pl.col(name), name in ("category", "image")
    if _is_text(dtype, name):
        text = column.cast(pl.String)
        return text.str.strip_chars() if name == "image" else text
    if several and isinstance(dtype, pl.List) and _is_text(dtype.inner, name):
        return column.cast(pl.List(pl.String)).list.eval(pl.element().str.strip_chars()).list.drop_nulls()
    return "text or lists of texts" if several else "text"


def _is_text(dtype: Any, name: str) -> bool:
    """Whether values of a type are texts, or stand for one: the values of an enumeration, and whole numbers."""
    named = isinstance(dtype, pl.Categorical | pl.Enum) or dtype in (pl.String, pl.Null)
    return named or (dtype.is_integer() and name != "image")


def microseconds(dtype: pl.DataType, per_second: int) -> pl.Expr:
    """The column timestamp as whole microseconds since 1970; null where there is no time that can be read.

    Numbers count ``per_second`` units in a second.
    """
    column = pl.col("timestamp")
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.dt.epoch("us")
    if dtype.is_integer():
        return _whole(column.cast(pl.Int64, strict=False), per_second)
    if dtype == pl.String:
        text = column.str.strip_chars()
        whole = _whole(text.cast(pl.Int64, strict=False), per_second)
        broken = _rounded(text.cast(pl.Float64, strict=False), per_second)
        return pl.coalesce(whole, broken, *(_dated(text, form) for form in DATES))
    return _rounded(column.cast(pl.Float64, strict=False), per_second)


def _whole(units: pl.Expr, per_second: int) -> pl.Expr:
    latest = LATEST * per_second
    return pl.when(units.is_between(-latest, latest)).then(units) * (PER_SECOND // per_second)


def _rounded(units: pl.Expr, per_second: int) -> pl.Expr:
    found = pl.when(units.abs() <= LATEST * per_second).then(units) * (PER_SECOND // per_second)
    return found.round().cast(pl.Int64, strict=False)


def _dated(text: pl.Expr, form: str) -> pl.Expr:
    if form == "%+":  # with a zone
        return text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False).dt.epoch("us")
    return text.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("us")


def unread_times(written: pl.Series) -> pl.Series:
    """Of what is ``written`` where no time could be read, the texts; words for nothing are not among them."""
    text = written.drop_nulls().cast(pl.String).str.strip_chars()
    return text.filter((text != "") & ~text.str.to_lowercase().is_in(NO_TIMES))
