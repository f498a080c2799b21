"""The Python of pages that turns files of others into ours, on small files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.acquire.sources.table import opened
from decorec.config import load
from decorec.config.datasets import TableDataset
from decorec.errors import DecorecError
from decorec.features.given import GivenVectors
from docs.generate.notebook import blocks
from tests.support.workplace import REPOSITORY


def follow(page: str) -> None:
    """The Python of one page, in the working directory."""
    exec("\n".join(blocks((REPOSITORY / f"docs/how-to/{page}.md").read_text(encoding="utf-8"))), {})


def test_the_layout_of_mmrec_becomes_tables_and_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("baby.inter").write_text("userID\titemID\trating\ttimestamp\tx_label\n0\t11\t5.0\t1370000000\t0\n")
    for modality, width in (("text", 2), ("image", 3)):
        np.save(f"{modality}_feat.npy", np.arange(12.0)[:, None] * np.ones(width))
    follow("sources")
    source = opened(TableDataset(source="table", path="."))
    found, _ = source.read_interactions()
    assert found.rows.select(pl.col("user", "item").cast(pl.String)).rows() == [("0", "11")]
    assert source.items.read_items().ids.to_list() == [str(number) for number in range(12)]
    for modality, width in (("text", 2), ("image", 3)):
        x, present = GivenVectors.read(Path(f"{modality}.parquet")).of(["11", "0", "3"])
        assert x.tolist() == [[11.0] * width, [0.0] * width, [3.0] * width], "the row is that of the number"
        assert present.tolist() == [True, False, True]


def test_an_array_is_written_with_its_ids_and_refused_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors").mkdir()
    Path("vectors/ids.txt").write_text("b\na\n")
    np.save("vectors/image.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    follow("encoders")
    assert GivenVectors.read(Path("vectors/image.parquet")).of(["a", "b"])[0].tolist() == [[3, 4], [1, 2]]
    shop = {"datasets": {"shop": {"source": "sample"}}}
    for key in ("text", "image"):
        message = rf"features\.{key}: expected vectors with the ids of their items .*found 'vectors/image.npy', whose"
        with pytest.raises(DecorecError, match=message):
            load(shop | {"features": {key: "vectors/image.npy"}})
