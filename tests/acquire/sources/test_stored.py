"""Data sets in folders of parquet files, as saved by the library datasets, and in data bases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from decorec.acquire.sources.registry import open_tables
from decorec.config.base import explain
from decorec.config.datasets import Dataset
from decorec.errors import DecorecError
from tests.acquire.sources.ingested import SALES, ingested

ROWS = [(user, f"00{item}", time) for user, item, time in SALES]
INTERACTIONS = pl.DataFrame(ROWS, schema=["user", "item", "timestamp"], orient="row")
ITEMS = pl.DataFrame({"item": [f"00{item}" for item in range(4)], "title": ["Top", "Hat", "Dress", "Belt"]})


def paths(section: dict[str, Any]) -> list[Path]:
    return open_tables(TypeAdapter(Dataset).validate_python(section)).paths()


# --- Folders of parquet files --------------------------------------------------------------------------------------


def parts(folder: Path) -> dict[str, Any]:
    """The items bought are the names of folders; within each, the rows of two files."""
    for item in range(4):
        own = INTERACTIONS.filter(item=f"00{item}").drop("item").rename({"user": "customer"})
        place = folder / "sales" / f"item=00{item}"
        place.mkdir(parents=True)
        own[:3].write_parquet(place / "part-2.parquet")
        own[3:].write_parquet(place / "part-10.parquet")
    (folder / "sales" / "_temporary").mkdir()
    (folder / "sales" / "_temporary" / "part-0.parquet").write_bytes(b"not yet")
    ITEMS.write_parquet(folder / "items.parquet")
    files = {"interactions": "sales", "items": "items.parquet"}
    return {"source": "table", "path": str(folder), **files, "columns": {"user": "customer"}}


def test_folders_of_parquet_files(tmp_path: Path) -> None:
    section = parts(tmp_path)
    kept, _, _ = ingested(tmp_path, section)
    assert kept.select("user", "item", "timestamp").rows() == INTERACTIONS.sort("item", maintain_order=True).rows()
    read = [path.relative_to(tmp_path).as_posix() for path in paths(section)]
    assert read[:2] == ["sales/item=000/part-2.parquet", "sales/item=000/part-10.parquet"] and len(read) == 9


def test_folders_of_parquet_files_that_do_not_fit_together(tmp_path: Path) -> None:
    section = parts(tmp_path)
    late = tmp_path / "sales" / "item=003" / "part-10.parquet"
    pl.read_parquet(late).with_columns(pl.lit(1.5).alias("customer")).write_parquet(late)
    with pytest.raises(
        DecorecError, match=r"item=003/part-10\.parquet, column 'customer': expected String as in .*-2\.par"
    ):
        ingested(tmp_path, section)
    late.write_bytes(b"PAR1")
    with pytest.raises(
        DecorecError, match=r"item=003/part-10\.parquet: expected a table of interactions, found a file"
    ):
        ingested(tmp_path, section)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DecorecError, match=r"/empty: expected a table of interactions, found a folder without parquet"):
        ingested(tmp_path, section | {"interactions": "empty"})
    late.unlink()
    with pytest.raises(
        DecorecError, match=r"/sales: expected the columns buyer, item, timestamp, found .*customer.*; add"
    ):
        ingested(tmp_path, section | {"columns": {"user": "buyer"}})


# --- Hugging Face --------------------------------------------------------------------------------------------------


def save(folder: Path, *files: pl.DataFrame, **features: Any) -> None:
    """As ``save_to_disk`` of the library datasets does."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(files):05d}.arrow" for number in range(len(files))]
    for name, frame in zip(names, files, strict=True):
        frame.write_ipc_stream(folder / name, compat_level=pl.CompatLevel.oldest())
    formats = {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "d665e8f32748ade2", **formats}
    (folder / "state.json").write_text(json.dumps(state | {"_split": None}, indent=2))
    values = {name: {"dtype": "string", "_type": "Value"} for name in files[0].columns}
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": values | features}))


def saved(folder: Path) -> dict[str, Any]:
    sales = INTERACTIONS.with_columns(pl.from_epoch("timestamp").dt.cast_time_unit("ns")).rename({"user": "buyer"})
    sales = pl.concat([sales, sales[:1].with_columns(item=pl.lit(None, pl.String))])
    save(folder / "sales" / "train", sales[:7], sales[7:])
    (folder / "sales" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    kinds = {"names": ["hat", "wear"], "_type": "ClassLabel"}
    pictures = pl.Series("photo", [{"bytes": b"jpeg", "path": "0.jpg"}] * 4)
    items = ITEMS.with_columns(kind=pl.Series([1, 0, 1, None]), image=pl.format("{}.jpg", "item")).with_columns(
        pictures
    )
    save(folder / "items", items, kind=kinds)
    names = {"columns": {"user": "buyer"}, "item_columns": {"category": "kind"}}
    return {"source": "huggingface", "path": str(folder), "interactions": "sales/train", **names}


def test_hugging_face(tmp_path: Path) -> None:
    section = saved(tmp_path)
    kept, items, counts = ingested(tmp_path, section)
    assert kept.select("user", "item", "timestamp").rows() == ROWS
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 0}
    assert items["categories"].to_list() == [["wear"], ["hat"], ["wear"], []]
    assert items["image_urls"].to_list()[1] == ["001.jpg"] and items["title"][1] == "Hat"
    assert [path.name for path in paths(section)][:2] == ["state.json", "data-00000-of-00002.arrow"]


def test_hugging_face_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    section = saved(tmp_path)
    with pytest.raises(
        DecorecError, match=r"/sales: expected one data set, found a dict of the splits train, test; name"
    ):
        ingested(tmp_path, section | {"interactions": "sales"})
    with pytest.raises(
        DecorecError, match=r"data-00000-of-00001\.arrow, column 'photo': .* found pictures; write them"
    ):
        ingested(tmp_path, section | {"item_columns": {"image": "photo"}})
    with pytest.raises(DecorecError, match=r"/train: expected the columns customer, item, timestamp, found .*buyer"):
        ingested(tmp_path, section | {"columns": {"user": "customer"}})
    save(tmp_path / "floats", INTERACTIONS.with_columns(item=pl.lit(1.0)))
    with pytest.raises(
        DecorecError, match=r"/floats, column 'item': expected ids as text or whole numbers, found Float64"
    ):
        ingested(tmp_path, section | {"interactions": "floats", "columns": {}})
    cut = tmp_path / "sales" / "train" / "data-00001-of-00002.arrow"
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(
        DecorecError, match=r"data-00001-of-00002\.arrow: expected a table of interactions, found a file"
    ):
        ingested(tmp_path, section)
    (tmp_path / "sales" / "train" / "state.json").write_text("{}")
    with pytest.raises(DecorecError, match=r"state\.json: expected what save_to_disk writes, found no names of Arrow"):
        ingested(tmp_path, section)
