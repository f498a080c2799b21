"""The user's own tables of interactions and items: csv or parquet, according to the ending of the file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.item_text import clean, sentences
from decorec.acquire.json_lines import reading
from decorec.acquire.sources.metadata import Metadata
from decorec.config.datasets import TableDataset
from decorec.data.interactions import Account, Interactions, complete
from decorec.errors import DecorecError

__all__ = ["picture_names", "read_interactions", "read_items", "table_row"]

ITEM_COLUMNS = ("title", "brand", "category", "description", "image")
LEVELS = " > "
"""Separates the levels of a category that is given as one string."""


def read_interactions(dataset: TableDataset) -> tuple[Interactions, Account]:
    """Users, items, ratings (null where absent) and times in seconds, in the order of the file.

    The column timestamp holds seconds since 1970 (as number or text) or, in parquet, dates or times.

    Raises:
        DecorecError: the file is missing or not a table, a column is missing, or no row has a user, an item and a time.
    """
    path = Path(dataset.path) / dataset.interactions
    what = "a table of interactions"
    with reading(path, what):
        table = _scan(path)
        schema = table.collect_schema()
        _require(path, schema.names(), ["user", "item", "timestamp"])
        rating = pl.col("rating") if "rating" in schema else pl.lit(None)
        frame = table.select(
            user=pl.col("user").cast(pl.String),
            item=pl.col("item").cast(pl.String),
            rating=rating.cast(pl.Float32, strict=False),
            timestamp=_seconds(schema["timestamp"]),
        ).collect(engine="streaming")
    number = partial(
        complete,
        account=Account({"records": len(frame)}, {}, {}),
        per_second=1,
        origin=str(path),
        expected="rows with user, item and timestamp (seconds since 1970)",
    )
    found, account = number(frame)
    # Blanks around ids are searched among the distinct ids, because these are fewer.
    if all((ids != "").all() and (ids.str.strip_chars() == ids).all() for ids in (found.users, found.items)):
        return found, account
    return number(frame.with_columns(_id("user"), _id("item")))


def read_items(dataset: TableDataset, wanted: pl.Series) -> Metadata:
    """Ids of all items and the columns of the ``wanted`` items; an item's first row is used.

    Raises:
        DecorecError: the file is missing or not a table, or has no column "item".
    """
    path = Path(dataset.path) / dataset.items
    with reading(path, "a table of items"):
        table = _scan(path)
        names = table.collect_schema().names()
        _require(path, names, ["item"])
        columns = [name for name in ITEM_COLUMNS if name in names]
        rows = table.select(_id("item"), *columns).collect(engine="streaming")
    named = rows.filter(pl.col("item").is_not_null())
    first = named.unique("item", keep="first", maintain_order=True)
    dropped = {"no item": len(rows) - len(named), "repeated item": len(named) - len(first)}
    records = first.filter(pl.col("item").is_in(wanted.implode()))
    account = Account({"records": len(rows), "items": len(first)}, dropped, {})
    return Metadata(first["item"], records, account)


def picture_names(dataset: TableDataset) -> list[str]:
    """File names and URLs of pictures in the table of items, each once.

    Raises:
        DecorecError: the file is missing or not a table.
    """
    path = Path(dataset.path) / dataset.items
    with reading(path, "a table of items"):
        table = _scan(path)
        if "image" not in table.collect_schema():
            return []
        images = table.select("image").collect()["image"]
        if images.dtype == pl.List:
            images = images.explode()
        names = images.cast(pl.String).drop_nulls().unique()
        return names.filter(names != "").to_list()


def table_row(record: dict[str, Any], repaired: Counter[str]) -> dict[str, Any]:
    """One row of items.parquet; the text is title, category, brand and description, if present.

    The field image is a path relative to the folder of the tables, an absolute path, a URL, or a list of these; it is
    kept as given.
    """
    texts = {name: clean(record[name]) if record.get(name) else "" for name in ("title", "brand", "description")}
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


def _scan(path: Path) -> pl.LazyFrame:
    """Scan a table; values of a csv file are read as text, so that ids keep leading zeros."""
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False)
    if path.suffix == ".csv":
        return pl.scan_csv(path, infer_schema=False, glob=False)
    raise DecorecError(f"{path}: expected a name ending in .csv or .parquet, found {path.suffix!r}; convert the file")


def _require(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise DecorecError(
            f"{path}: expected the columns {', '.join(expected)}, found {', '.join(found)}; add or rename "
            f"{', '.join(missing)}"
        )


def _id(name: str) -> pl.Expr:
    stripped = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when(stripped != "").then(stripped).alias(name)


def _seconds(dtype: pl.DataType) -> pl.Expr:
    column = pl.col("timestamp")
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.dt.epoch("s")
    return pl.coalesce(
        column.cast(pl.Int64, strict=False), column.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    )
