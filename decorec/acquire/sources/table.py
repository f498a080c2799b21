"""The user's own tables of interactions and items: csv or parquet, according to the ending of the file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.csv_files import check_csv, check_widths, count_records
from decorec.acquire.item_text import clean, is_code, sentences
from decorec.acquire.json_lines import reading
from decorec.acquire.sources.metadata import Metadata
from decorec.config.datasets import TableDataset
from decorec.data.interactions import Account, Interactions, complete, examples
from decorec.errors import DecorecError

__all__ = ["has_pictures", "picture_names", "read_interactions", "read_items", "table_row"]

ITEM_COLUMNS = ("title", "brand", "category", "description", "image")
LEVELS = " > "
"""Separates the levels of a category that is given as one string."""
PER_SECOND = 1_000_000
LATEST = 253_402_300_800
"""The year 10,000, in seconds since 1970: what is larger counts milliseconds or less."""
NOTHING = ("nan", "NaN", "NAN", "None", "none", "NULL", "null", "Null", "<NA>", "NA", "N/A")
"""Words that programs write for a missing value."""
NO_TIMES = ("", *sorted({word.lower() for word in NOTHING}), "inf", "-inf", "+inf", "infinity", "-infinity")
DATES = ("%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
"""Forms of ISO 8601; what names no zone is taken as UTC."""


def read_interactions(dataset: TableDataset) -> tuple[Interactions, Account]:
    """Users, items, ratings (null where absent) and times in microseconds, in the order of the file.

    The column timestamp holds seconds since 1970 (as number or text, with or without a fraction), dates and times of
    ISO 8601 as text, or, in parquet, dates or times. Words such as nan, None and NULL stand for no id and no time.

    Raises:
        DecorecError: the file is missing or not a table, a column is missing or of a wrong type, a csv file is damaged,
            a time is not in one of these forms, or no row has a user, an item and a time.
    """
    path = Path(dataset.path) / dataset.interactions
    what = "a table of interactions"
    with _reading(path, what):
        table = _scan(path)
        schema = table.collect_schema()
        _require(path, schema.names(), ["user", "item", "timestamp"])
        for name in ("user", "item"):
            _expect_id(path, table, name, schema[name])
        for name, expected in (("timestamp", "seconds since 1970, dates or texts"), ("rating", "numbers or texts")):
            if name in schema and not _is_value(schema[name], name):
                raise DecorecError(f"{path}, column {name!r}: expected {expected}, found {schema[name]}; convert it")
        rating = pl.col("rating") if "rating" in schema else pl.lit(None)
        if schema.get("rating") == pl.String:
            rating = rating.str.strip_chars()
        frame = table.select(
            user=pl.col("user").cast(pl.String),
            item=pl.col("item").cast(pl.String),
            rating=rating.cast(pl.Float32, strict=False),
            timestamp=_microseconds(schema["timestamp"]),
            written=pl.col("timestamp"),
        ).collect(engine="streaming")
    _expect_records(path, len(frame))
    _expect_times(path, frame)
    without = frame["timestamp"].is_null()
    timeless = examples(frame.select("user", "item", timestamp="written"), without, ["user", "item", "timestamp"])
    frame = frame.drop("written")
    number = partial(
        complete,
        account=Account({"records": len(frame)}, {}, {}, {"no timestamp": timeless}),
        per_second=PER_SECOND,
        origin=str(path),
        expected="rows with user, item and timestamp (seconds since 1970)",
        written=frame,
    )
    found, account = number(frame)
    # Blanks around ids and words for nothing are searched among the distinct ids, because these are fewer.
    if all(_are_clean(ids) for ids in (found.users, found.items)):
        return found, account
    return number(frame.with_columns(_id("user"), _id("item")))


def read_items(dataset: TableDataset, wanted: pl.Series | None = None) -> Metadata:
    """Ids of all items and the columns of the ``wanted`` items (None: of all); an item's first row is used.

    Raises:
        DecorecError: the file is missing or not a table, has no column "item" or a column of a wrong type, or a csv
            file is damaged.
    """
    path = Path(dataset.path) / dataset.items
    with _reading(path, "a table of items"):
        table = _scan(path)
        schema = table.collect_schema()
        _require(path, schema.names(), ["item"])
        _expect_id(path, table, "item", schema["item"])
        columns = [_described(path, name, schema[name]) for name in ITEM_COLUMNS if name in schema]
        rows = table.select(_id("item"), *columns).collect(engine="streaming")
    _expect_records(path, len(rows))
    named = rows.filter(pl.col("item").is_not_null())
    first = named.unique("item", keep="first", maintain_order=True)
    dropped = {"no item": len(rows) - len(named), "repeated item": len(named) - len(first)}
    records = first if wanted is None else first.filter(pl.col("item").is_in(wanted.implode()))
    nameless = examples(rows, rows["item"].is_null(), rows.columns[1:])
    account = Account({"records": len(rows), "items": len(first)}, dropped, {}, {"no item": nameless})
    return Metadata(first["item"], records, account)


def picture_names(dataset: TableDataset) -> list[str]:
    """File names and URLs of pictures in the table of items, each once.

    Raises:
        DecorecError: the file is missing or not a table.
    """
    return _pictures(dataset, pl.LazyFrame.unique)


def has_pictures(dataset: TableDataset) -> bool:
    """Whether some item has a picture; the table is read no further than that.

    Raises:
        DecorecError: as for ``picture_names``.
    """
    return bool(_pictures(dataset, lambda names: names.head(1)))


def _pictures(dataset: TableDataset, select: Callable[[pl.LazyFrame], pl.LazyFrame]) -> list[str]:
    path = Path(dataset.path) / dataset.items
    with _reading(path, "a table of items"):
        table = _scan(path)
        schema = table.collect_schema()
        if "image" not in schema:
            return []
        names = table.select(_described(path, "image", schema["image"]))
        if isinstance(schema["image"], pl.List):
            names = names.explode("image")
        return select(names.filter(pl.col("image") != "")).collect()["image"].to_list()


def table_row(record: dict[str, Any], repaired: Counter[str]) -> dict[str, Any]:
    """One row of items.parquet; the text is title, category, brand and description, if present.

    The field image is a path relative to the folder of the tables, an absolute path, a URL, or a list of these; it is
    kept as given.
    """
    texts = {name: clean(record[name]) if record.get(name) else "" for name in ("title", "brand", "description")}
    for name in texts:
        if not texts[name] and record.get(name) and is_code(record[name]):
            repaired[f"{name}: code dropped"] += 1
    category = record.get("category") or []
    levels = category.split(LEVELS) if isinstance(category, str) else category
    order = [texts["title"], clean(category), texts["brand"], texts["description"]]
    images = record.get("image") or []
    return {
        "item": record["item"],
        **texts,
        "categories": [text for text in map(clean, levels) if text],
        "text": sentences(text or None for text in order),
        "image_urls": [images] if isinstance(images, str) else list(images),
    }


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """As ``reading``; of a csv file with wrong quotes or too many fields it names the line."""
    with reading(path, what):
        try:
            yield
        except pl.exceptions.ComputeError:
            if path.suffix == ".csv":
                count_records(path)
                check_widths(path)
            raise


def _scan(path: Path) -> pl.LazyFrame:
    """Scan a table; values of a csv file are read as text, so that ids keep leading zeros; names lose blanks around."""
    if path.suffix == ".parquet":
        table = pl.scan_parquet(path, glob=False)
    elif path.suffix == ".csv":
        check_csv(path)
        table = pl.scan_csv(path, infer_schema=False, glob=False)
    else:
        raise DecorecError(
            f"{path}: expected a name ending in .csv or .parquet, found {path.suffix!r}; convert the file"
        )
    names = table.collect_schema().names()
    stripped = [name.strip() for name in names]
    if len(set(stripped)) < len(names):
        raise DecorecError(f"{path}: expected each column once, found {', '.join(map(repr, names))}; rename one")
    return table.rename(dict(zip(names, stripped, strict=True)))


def _expect_records(path: Path, found: int) -> None:
    """Refuse a csv file of which the reader has swallowed rows."""
    expected = count_records(path) if path.suffix == ".csv" else None
    if expected is not None and expected != found:
        raise DecorecError(
            f"{path}: expected {expected} records, found {found}: a quote stands alone somewhere, and rows behind it "
            'were taken for one field; put such fields in quotes and write a quote inside of them twice ("")'
        )


def _expect_times(path: Path, frame: pl.DataFrame) -> None:
    """Refuse a table where a time is written but cannot be read, because its rows would be lost."""
    lost = frame.filter(pl.col("timestamp").is_null() & pl.col("written").is_not_null())["written"].cast(pl.String)
    text = lost.str.strip_chars()
    unread = text.filter((text != "") & ~text.str.to_lowercase().is_in(NO_TIMES))
    if len(unread):
        shown = ", ".join(map(repr, unread.unique(maintain_order=True).head(3)))
        raise DecorecError(
            f"{path}, column 'timestamp': expected seconds since 1970 or dates such as 2020-09-13T12:26:40Z, found "
            f"{len(unread)} others, such as {shown}; convert them (what counts milliseconds is divided by 1000)"
        )


def _expect_id(path: Path, table: pl.LazyFrame, name: str, dtype: pl.DataType) -> None:
    if dtype.is_float() or dtype.is_nested() or dtype == pl.Binary:
        shown = table.select(pl.col(name).drop_nulls().head(3)).collect()[name].to_list()
        raise DecorecError(
            f"{path}, column {name!r}: expected ids as text or whole numbers, found {dtype} (such as "
            f"{', '.join(map(str, shown))}); convert the column"
        )


def _is_value(dtype: pl.DataType, name: str) -> bool:
    """Whether a column of a type can hold times ("timestamp") or ratings ("rating")."""
    own = dtype == pl.Date or isinstance(dtype, pl.Datetime) if name == "timestamp" else dtype == pl.Boolean
    return own or dtype.is_numeric() or dtype in (pl.String, pl.Null)


def _require(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise DecorecError(
            f"{path}: expected the columns {', '.join(expected)}, found {', '.join(found)}; add or rename "
            f"{', '.join(missing)}"
        )


def _id(name: str) -> pl.Expr:
    """An id without blanks around it; null where there is none."""
    stripped = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when((stripped != "") & ~stripped.is_in(NOTHING)).then(stripped).alias(name)


def _are_clean(ids: pl.Series) -> bool:
    return bool((ids.str.strip_chars() == ids).all() and (ids != "").all() and not ids.is_in(NOTHING).any())


def _described(path: Path, name: str, dtype: pl.DataType) -> pl.Expr:
    """A column of the table of items as text, or as lists of texts where the column may hold several.

    Blanks around names of pictures are removed here, those around other texts when they are cleaned. Categories may be
    numbers.

    Raises:
        DecorecError: the column is of a type that is no text.
    """
    column, several = pl.col(name), name in ("category", "image")
    if _is_text(dtype, name):
        text = column.cast(pl.String)
        return text.str.strip_chars() if name == "image" else text
    if several and isinstance(dtype, pl.List) and _is_text(dtype.inner, name):
        return column.cast(pl.List(pl.String)).list.eval(pl.element().str.strip_chars()).list.drop_nulls()
    expected = "text or lists of texts" if several else "text"
    raise DecorecError(f"{path}, column {name!r}: expected {expected}, found {dtype}; convert the column")


def _is_text(dtype: Any, name: str) -> bool:
    """Whether values of a type are texts, or stand for one: the values of an enumeration, and whole numbers."""
    named = isinstance(dtype, pl.Categorical | pl.Enum) or dtype in (pl.String, pl.Null)
    return named or (dtype.is_integer() and name != "image")


def _microseconds(dtype: pl.DataType) -> pl.Expr:
    """Times as whole microseconds since 1970; null where there is none that can be read."""
    column = pl.col("timestamp")
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.dt.epoch("us")
    if dtype.is_integer():
        return _whole(column.cast(pl.Int64, strict=False))
    if dtype == pl.String:
        text = column.str.strip_chars()
        whole = _whole(text.cast(pl.Int64, strict=False))
        return pl.coalesce(
            whole, _rounded(text.cast(pl.Float64, strict=False)), *(_dated(text, form) for form in DATES)
        )
    return _rounded(column.cast(pl.Float64, strict=False))


def _whole(seconds: pl.Expr) -> pl.Expr:
    return pl.when(seconds.is_between(-LATEST, LATEST)).then(seconds) * PER_SECOND


def _rounded(seconds: pl.Expr) -> pl.Expr:
    return (pl.when(seconds.abs() <= LATEST).then(seconds) * PER_SECOND).round().cast(pl.Int64, strict=False)


def _dated(text: pl.Expr, form: str) -> pl.Expr:
    if form == "%+":  # with a zone
        return text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False).dt.epoch("us")
    return text.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("us")
