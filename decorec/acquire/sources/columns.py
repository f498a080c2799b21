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
    "doubles",
    "identified",
    "is_id",
    "is_value",
    "listed",
    "microseconds",
    "plain",
    "rounded",
    "unread_times",
    "wrong_unit",
]

INTERACTIONS = ("user", "item", "timestamp", "rating")
ITEMS = ("item", "title", "brand", "category", "description", "image")
"""Our names of the columns."""
PER_SECOND = 1_000_000
EARLIEST, LATEST = -2_208_988_800, 7_258_118_400
"""The years 1900 and 2200, in seconds since 1970. What lies outside counts in a smaller unit than the one that is
expected, or stands for no time, as 0001-01-01 and 9999-12-31 do."""
DAYS = (10_957, 60_000)
"""Days since 1970 of the year 2000; days of a spreadsheet, which counts from 1900, of the year 2064."""
DIGITS = (19_000_101, 21_991_231)
"""Dates without hyphens, as numbers."""
NOTHING = ("nan", "NaN", "NAN", "None", "none", "NULL", "null", "Null", "<NA>", "NA", "N/A")
"""Words that programs write for a missing value."""
NO_TIMES = ("", *sorted({word.lower() for word in NOTHING}), "inf", "-inf", "+inf", "infinity", "-infinity")
ZONED = ("%+", "%Y-%m-%d %H:%M:%S%.f%#z")
"""Forms with a zone: that of ISO 8601, and that of PostgreSQL, which writes the hours of the zone alone."""
DATES = (*ZONED, "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
"""Forms of ISO 8601; what names no zone is taken as UTC."""
ROUNDED = r"^[0-9]([.,][0-9]+)?[eE]\+[0-9]+$"
INVISIBLE = r"[\u{ad}\u{200b}-\u{200f}\u{2060}\u{feff}]"
FRACTION = r"^([0-9]+)\.0+$"
LISTED = r"""^\s*\[\s*(["'].*)?\]\s*$"""


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


def rounded(ids: pl.Series) -> pl.Series:
    """Ids such as 4.00123E+12: a spreadsheet has cut them, so that one stands for many."""
    return ids.filter(ids.str.contains(ROUNDED))


def plain(name: str) -> pl.Expr:
    """An id without what cannot be seen or means nothing: another form of Unicode, marks of no width, and the fraction
    .0 that a column of whole numbers gets where some are missing."""
    return pl.col(name).str.normalize("NFC").str.replace_all(INVISIBLE, "").str.replace(FRACTION, "$1")


def doubles(ids: pl.Series) -> pl.DataFrame:
    """Of distinct ids those that are in truth one: the columns ``id``, and ``plain``, which is an id as well."""
    versions = ids.str.contains(r"^[0-9]+\.[0-9]*[1-9]").any()  # where there is 1.5, 1.0 and 1 may be two
    unusual = ids.filter(ids.str.contains(r"[^\x00-\x7f]" if versions else rf"[^\x00-\x7f]|{FRACTION}"))
    pairs = pl.DataFrame({"id": unusual}).with_columns(plain("id").alias("plain"))
    return pairs.filter((pl.col("id") != pl.col("plain")) & pl.col("plain").is_in(ids.implode())).sort("id")


def is_value(dtype: pl.DataType, name: str) -> bool:
    """Whether a column of a type can hold times ("timestamp") or ratings ("rating")."""
    own = dtype == pl.Date or isinstance(dtype, pl.Datetime) if name == "timestamp" else dtype == pl.Boolean
    return own or dtype.is_numeric() or dtype in (pl.String, pl.Null)


def described(name: str, dtype: pl.DataType) -> pl.Expr | str:
    """A column of a table of items as text, or as lists of texts where it may hold several; else what is expected.

    Blanks around names of pictures are removed here, those around other texts when they are cleaned. Categories may be
    numbers. A word for nothing is no text.
    """
    column, several = pl.col(name), name in ("category", "image")
    if _is_text(dtype, name):
        text = column.cast(pl.String)
        return _worded(text.str.strip_chars() if name == "image" else text).alias(name)
    if several and isinstance(dtype, pl.List) and _is_text(dtype.inner, name):
        return column.cast(pl.List(pl.String)).list.eval(_worded(pl.element().str.strip_chars())).list.drop_nulls()
    return "text or lists of texts" if several else "text"


def _worded(text: pl.Expr) -> pl.Expr:
    """``text``; null where it is a word for nothing."""
    return pl.when(~text.str.strip_chars().is_in(NOTHING)).then(text)


def listed(texts: pl.Series) -> pl.Series:
    """Texts such as "['a.jpg', 'b.jpg']": a list that was written into a column of texts."""
    return texts.filter(texts.str.contains(LISTED))


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
        return _whole(column.dt.epoch("us"), PER_SECOND)
    if dtype.is_integer():
        return _whole(column.cast(pl.Int64, strict=False), per_second)
    if dtype == pl.String:
        text = column.str.strip_chars()
        whole = _whole(text.cast(pl.Int64, strict=False), per_second)
        broken = _rounded(text.cast(pl.Float64, strict=False), per_second)
        return pl.coalesce(whole, broken, *(_dated(text, form) for form in DATES))
    return _rounded(column.cast(pl.Float64, strict=False), per_second)


def _whole(units: pl.Expr, per_second: int) -> pl.Expr:
    """Microseconds; null where nothing can have been sold."""
    possible = units.is_between(EARLIEST * per_second, LATEST * per_second)
    return pl.when(possible).then(units) * (PER_SECOND // per_second)


def _rounded(units: pl.Expr, per_second: int) -> pl.Expr:
    return _whole(units, per_second).round().cast(pl.Int64, strict=False)


def _dated(text: pl.Expr, form: str) -> pl.Expr:
    zone = "UTC" if form in ZONED else None
    return _whole(text.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False).dt.epoch("us"), PER_SECOND)


def unread_times(written: pl.Series) -> pl.Series:
    """Of what is ``written`` where no time could be read, the texts; words for nothing are not among them."""
    text = written.drop_nulls().cast(pl.String).str.strip_chars()
    return text.filter((text != "") & ~text.str.to_lowercase().is_in(NO_TIMES))


def wrong_unit(times: pl.Series) -> str | None:
    """What the seconds of ``times`` (microseconds) seem to be in truth, because as seconds all lie in a day or a month.

    None if they are seconds.
    """
    seconds = times.drop_nulls() // PER_SECOND
    if seconds.is_empty():
        return None
    if seconds.is_between(*DAYS).all():
        return "days"
    if (
        seconds.is_between(*DIGITS).all()
        and seconds.cast(pl.String).str.to_date("%Y%m%d", strict=False).is_not_null().all()
    ):
        return "dates without hyphens"
    return None
