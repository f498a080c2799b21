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
