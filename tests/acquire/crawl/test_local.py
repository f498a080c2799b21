"""The state of the pictures beside the user's own tables: it changes when a picture does, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from decorec.acquire.crawl import local
from decorec.artifacts.contents import Contents
from decorec.config.datasets import TableDataset

URL = "https://shop.example/far.jpg"


def state_of_pictures(dataset: TableDataset) -> str:
    return local.state_of_pictures(dataset, Contents(Path(dataset.path) / "cache"))


def shop(folder: Path, images: list[str | None] | None = None) -> TableDataset:
    """A table of items, with two pictures in a folder and a third one that is named but absent."""
    names = images or ["images/a.jpg", "images/b.jpg", "images/absent.jpg", URL, None, ""]
    table = pl.DataFrame({"item": [f"i{row}" for row in range(len(names))], "image": names})
    (folder / "images").mkdir(parents=True)
    table.write_csv(folder / "items.csv", quote_style="non_numeric")
    for name in ("a", "b"):
        (folder / "images" / f"{name}.jpg").write_bytes(name.encode())
    return TableDataset(source="table", path=str(folder))


def test_nothing_changes_the_state_but_a_picture(tmp_path: Path) -> None:
    dataset = shop(tmp_path)
    before = state_of_pictures(dataset)
    assert before and state_of_pictures(dataset) == before
    for name in ("a", "b"):
        os.utime(tmp_path / "images" / f"{name}.jpg", ns=(1, 1))
    assert state_of_pictures(dataset) == before
    # Files that the table does not name, in both folders; they also change the times of the folders.
    for folder in (tmp_path, tmp_path / "images"):
        (folder / "other.jpg").write_bytes(b"other")
        os.utime(folder, ns=(1, 1))
    assert state_of_pictures(dataset) == before
    # Titles and the order of the rows say nothing about pictures, nor does another address on the web.
    table = pl.read_csv(tmp_path / "items.csv").with_columns(title=pl.lit("new"))
    table.reverse().write_csv(tmp_path / "items.csv", quote_style="non_numeric")
    assert state_of_pictures(dataset) == before
    table.with_columns(pl.col("image").replace(URL, URL + "?2")).write_csv(tmp_path / "items.csv")
    assert state_of_pictures(dataset) == before


def test_a_picture_that_is_replaced_added_or_deleted_changes_the_state(tmp_path: Path) -> None:
    dataset = shop(tmp_path)
    path = tmp_path / "images" / "a.jpg"
    states = [state_of_pictures(dataset)]
    path.write_bytes(b"larger")
    states.append(state_of_pictures(dataset))
    path.write_bytes(b"as long")
    states.append(state_of_pictures(dataset))
    (tmp_path / "images" / "absent.jpg").write_bytes(b"now there")
    states.append(state_of_pictures(dataset))
    (tmp_path / "images" / "b.jpg").unlink()
    states.append(state_of_pictures(dataset))
    assert len(set(states)) == len(states)


def test_a_picture_of_equal_size_and_time_changes_the_state(tmp_path: Path) -> None:
    dataset = shop(tmp_path)
    before, path = state_of_pictures(dataset), tmp_path / "images" / "a.jpg"
    facts = path.stat()
    path.write_bytes(b"z")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert state_of_pictures(dataset) != before


def test_a_name_that_is_added_to_the_table_changes_the_state(tmp_path: Path) -> None:
    before = state_of_pictures(shop(tmp_path / "one", ["images/a.jpg"]))
    dataset = shop(tmp_path / "two", ["images/a.jpg"])
    table = pl.DataFrame({"item": ["i0", "i1"], "image": ["images/a.jpg", "images/b.jpg"]})
    alone = state_of_pictures(dataset)
    table.write_csv(tmp_path / "two" / "items.csv")
    assert len({before, alone, state_of_pictures(dataset)}) == 3


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "a\0b", "x" * 4_000])
def test_names_that_cannot_be_files_are_absent_ones(tmp_path: Path, name: str) -> None:
    dataset = shop(tmp_path / "own", ["images/a.jpg", name])
    before = state_of_pictures(dataset)
    (tmp_path / "secret.jpg").write_bytes(b"not asked for")
    assert before and state_of_pictures(dataset) == before


def test_a_table_without_pictures_has_a_state_that_stays(tmp_path: Path) -> None:
    dataset = shop(tmp_path)
    pl.DataFrame({"item": ["i0"], "title": ["Thing"]}).write_csv(tmp_path / "items.csv")
    before = state_of_pictures(dataset)
    (tmp_path / "images" / "a.jpg").unlink()
    assert before and state_of_pictures(dataset) == before


@pytest.mark.parametrize("content", [None, b"", b"item,image\ni0,\xff\xfe\n"])
def test_the_state_is_empty_where_the_table_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    dataset = shop(tmp_path)
    (tmp_path / "items.csv").unlink()
    if content is not None:
        (tmp_path / "items.csv").write_bytes(content)
    assert state_of_pictures(dataset) == ""
    assert state_of_pictures(TableDataset(source="table", path=str(tmp_path), items="items.xlsx")) == ""
