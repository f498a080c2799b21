"""Data sets as they are released: each is written here in its own format, and read to the right values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from decorec.acquire.sources.registry import open_tables
from decorec.config.datasets import Dataset
from decorec.errors import DecorecError
from tests.acquire.sources.ingested import SALES, ingested

# --- MicroLens -----------------------------------------------------------------------------------------------------


def microlens(folder: Path, pairs: list[str], titles: list[str]) -> dict[str, str]:
    (folder / "MicroLens-100k_covers").mkdir()
    (folder / "MicroLens-100k_pairs.csv").write_text("\n".join(["user,item,timestamp", *pairs]) + "\n")
    (folder / "MicroLens-100k_title_en.csv").write_text("\n".join(titles) + "\n")
    return {"source": "microlens", "path": str(folder)}


PAIRS = [f"{user[1:]},{item + 1},{time}{item}5{user[1:]}" for user, item, time in SALES]
TITLES = ["1,A cat sings", "2,Cook, eat, sleep", '3,"He said ""no"", again"', "4,"]


def test_microlens(tmp_path: Path) -> None:
    # Two within a second, in the file against time; one repeated; one without an item; one of a video without a title.
    dirty = ["0,1,1700000000900", "0,2,1700000000100", PAIRS[0], "0,,1700000000000", "0,77,1700000000000"]
    section = microlens(tmp_path, PAIRS + dirty, [*TITLES, ",nameless", "1,again"])
    kept, items, counts = ingested(tmp_path, section)
    assert kept["user"].unique().sort().to_list() == ["0", "1", "2", "3"]
    own = kept.filter(user="0").select("item", "timestamp").rows()
    assert own == [(str(item + 1), time) for user, item, time in SALES if user == "u0"] + [
        ("2", 1_700_000_000),
        ("1", 1_700_000_000),
    ]
    assert kept["rating"].null_count() == len(kept) == 18
    assert dict(items.select("item", "title").rows()) == {
        "1": "A cat sings",
        "2": "Cook, eat, sleep",
        "3": "He said no, again",
        "4": "",
    }
    assert items.filter(item="3")["image_urls"].to_list() == [["MicroLens-100k_covers/3.jpg"]]
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 0}
    assert counts["items"]["dropped"] == {"no item": 1, "repeated item": 1}
    assert [step["dropped"] for step in counts["filter"][:2]] == [
        {"duplicate (exact)": 1},
        {"item without metadata": 1},
    ]


def test_microlens_refuses_what_it_would_read_wrongly(tmp_path: Path) -> None:
    section = microlens(tmp_path, PAIRS, [*TITLES, "and more of it"])
    with pytest.raises(
        DecorecError, match=r"title_en\.csv, line 5: expected the number of an item.*'and more of it' \(1"
    ):
        ingested(tmp_path, section)
    with pytest.raises(DecorecError, match=r"pairs\.tsv: expected the csv file of pairs, found the tsv file"):
        ingested(tmp_path, section | {"interactions": "MicroLens-100k_pairs.tsv"})
    (tmp_path / "MicroLens-100k_title_en.csv").write_text("\n".join(["item,title", *TITLES]))
    with pytest.raises(DecorecError, match=r"/covers: expected the folder with the covers.*write covers: null"):
        ingested(tmp_path, section | {"covers": "covers"})
    _, items, _ = ingested(tmp_path, section | {"covers": None})
    assert len(items) == 4 and items["image_urls"].list.len().sum() == 0
