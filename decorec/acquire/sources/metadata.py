"""Items from the metadata of Amazon 2018 (also the sample shop's format) and 2023, and of older files."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.item_text import clean, is_code, sentences
from decorec.acquire.json_lines import read_records
from decorec.acquire.sources.losses import lines_not_json
from decorec.acquire.sources.reviews import AmazonFormat
from decorec.acquire.sources.source import Metadata
from decorec.data.interactions import Account, Examples, examples

__all__ = ["item_row", "read_metadata"]

ID = {"amazon2018": "asin", "amazon2023": "parent_asin"}
TITLE, BRAND, CATEGORIES, DESCRIPTION = ("title",), ("brand", "store"), ("category", "categories"), ("description",)
PICTURES = ("images", "imageURLHighRes", "imageURL", "imUrl")
"""In order of preference: 2023's list of pictures in several sizes, 2018's large ones, its thumbnails (about 40
pixels), and the one picture of the files of 2014."""
SIZES = ("large", "hi_res", "thumb")
"""In order of preference: about 500 pixels are enough for an encoder and take a tenth of the bytes of hi_res."""


def read_metadata(path: Path, source: AmazonFormat, wanted: pl.Series) -> Metadata:
    """Read the ids of all records, and the fields of the ``wanted`` items; an item's first record is used.

    Raises:
        DecorecError: the file is missing, or not gzipped JSON lines.
    """
    fields = [*TITLE, *BRAND, *CATEGORIES, *DESCRIPTION, *PICTURES]
    item = pl.col(ID[source]).str.strip_chars()
    known = pl.col("item").is_in(wanted.implode()) | pl.col("item").is_null()
    rows, counts = read_records(
        path,
        [ID[source], *fields],
        f"metadata with {ID[source]}",
        lambda records: records.select(pl.when(item != "").then(item).alias("item"), *fields).with_columns(
            pl.when(known).then(pl.col(name)).alias(name) for name in fields
        ),
    )
    named = rows.filter(pl.col("item").is_not_null())
    first = named.unique("item", keep="first", maintain_order=True)
    dropped = {
        "not JSON": counts["not JSON"],
        "line too long": counts["line too long"],
        "no item": len(rows) - len(named),
        "repeated item": len(named) - len(first),
    }
    summary = {"lines": counts["lines"], "records": len(rows), "items": len(first)}
    shown: dict[str, Examples] = {
        "not JSON": partial(lines_not_json, path),
        "no item": examples(rows, rows["item"].is_null(), fields),
    }
    account = Account(summary, dropped, {"undecodable characters": counts["undecodable characters"]}, shown)
    return Metadata(first["item"], first.filter(known), account)


def item_row(record: dict[str, str | None], repaired: Counter[str]) -> dict[str, Any]:
    """One row of items.parquet from the raw fields of a record; ``repaired`` counts repairs by reason.

    The text is title, category and brand, in the order of UniSRec's preparation.
    """
    raw = {name: _value(text) for name, text in record.items() if text is not None}
    title, brand, categories, description = (_first(raw, names) for names in (TITLE, BRAND, CATEGORIES, DESCRIPTION))
    levels = [text for text in map(clean, _flat(categories)) if text]
    fields = {"title": title, "brand": brand, "description": description}
    cleaned = {name: clean("" if value is None else value) for name, value in fields.items()}
    order = [_sentence(title, cleaned["title"]), _sentence(categories, " ".join(levels))]
    _count_repairs({**fields, "category": categories}, repaired)
    return {
        "item": record["item"],
        **cleaned,
        "categories": levels,
        "text": sentences([*order, _sentence(brand, cleaned["brand"])]),
        "image_urls": _pictures(raw),
    }


def _value(text: str) -> Any:
    """The value of a field: lists and objects are given as JSON, anything else as text."""
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError):  # the latter: nested more deeply than any record that is meant
            return text
    return text


def _first(raw: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if name in raw:
            return raw[name]
    return None


def _flat(value: Any) -> list[Any]:
    """A value, or the members of a list of lists, as one list."""
    if value is None:
        return []
    return [part for member in value for part in _flat(member)] if isinstance(value, list) else [value]


def _sentence(value: Any, cleaned: str) -> str | None:
    """The cleaned field; None if there is no such field, or if it is only markup and code."""
    return None if value is None or (value and not cleaned) else cleaned


def _count_repairs(fields: dict[str, Any], repaired: Counter[str]) -> None:
    for name, value in fields.items():
        if value is None:
            repaired[f"{name}: absent"] += 1
            continue
        if name in ("title", "brand") and isinstance(value, list):
            repaired[f"{name}: list joined"] += 1
        if name in ("category", "description") and isinstance(value, str):
            repaired[f"{name}: string in place of a list"] += 1
        parts = [str(part) for part in _flat(value)]
        if any("<" in part and clean(part) != part for part in parts):
            repaired[f"{name}: markup removed"] += 1
        if any(is_code(part) for part in parts):
            repaired[f"{name}: code dropped"] += 1


def _pictures(raw: dict[str, Any]) -> list[str]:
    """URLs of an item's pictures, each once, the preferred ones first."""
    images = raw.get("images")
    urls: list[Any] = []
    if isinstance(images, dict):  # a dict of lists, one per size
        urls = [url for size in SIZES for url in _flat(images.get(size))]
    elif images is not None:
        members = _flat(images)
        pictures = [picture for picture in members if isinstance(picture, dict)]
        pictures.sort(key=lambda picture: picture.get("variant") != "MAIN")
        urls = [picture.get(size) for size in SIZES for picture in pictures]
        urls += [member for member in members if isinstance(member, str)]
    urls += [url for name in PICTURES[1:] for url in _flat(raw.get(name))]
    return list(dict.fromkeys(url.strip() for url in urls if isinstance(url, str) and url.strip()))
