"""Atomic files: sequences come back from their expansion, and every row is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decorec.config.datasets import AtomicDataset
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.prepare.atomic import atomic

SCIENTIFIC = Path("data/scientific")
OUTPUTS = ("items", "text", "image", "vocab", "sequences", "statistics")
WIDTH = 4
HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"


def expand(walks: list[list[int]], limit: int = 50, rising: bool = False) -> dict[str, list[str]]:
    """Rows of the three files; training rows with the longest history first, or last."""
    rows: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user, walk in enumerate(walks):
        places = range(1, len(walk)) if rising else range(len(walk) - 1, 0, -1)
        for place in places:
            part = {len(walk) - 1: "test", len(walk) - 2: "valid"}.get(place, "train")
            history = " ".join(map(str, walk[max(0, place - limit) : place]))
            rows[part].append(f"{user}\t{history}\t{walk[place]}")
    return rows


def write(folder: Path, walks: list[list[int]], items: int, **options: Any) -> None:
    for part, rows in expand(walks, **options).items():
        (folder / f"D.{part}.inter").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "D.item2index").write_text("".join(f"B{item}\t{item}\n" for item in range(items)))
    (folder / "D.user2index").write_text("".join(f"U{user}\t{user}\n" for user in range(len(walks))))
    (folder / "D.text").write_text('item_id:token\ttext:token_seq\nB1\tOne "inch" tape. \nB0\tGlue. \n')
    x = np.arange(items * WIDTH, dtype="<f4").reshape(items, WIDTH) + 1
    x.tofile(folder / "D.feat1CLS")
    x[0] = 0
    (-x).tofile(folder / "D.feat3CLS")


def run(folder: Path, **options: Any) -> dict[str, Path]:
    outputs = {name: folder / "out" / name for name in OUTPUTS}
    dataset = AtomicDataset(source="atomic", path=str(folder), name="D", width=options.get("width", WIDTH))
    atomic(dataset=dataset, **outputs)
    return outputs


Walks = st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=14), min_size=1, max_size=6)


@given(Walks, st.integers(2, 12), st.booleans())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sequences_come_back(tmp_path: Path, walks: list[list[int]], limit: int, rising: bool) -> None:
    write(tmp_path, walks, 6, limit=limit, rising=rising)
    found = Sequences.read(run(tmp_path)["sequences"])
    ends = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    assert [found.items[start:end].tolist() for start, end in ends] == walks
    assert found.users == [f"U{user}" for user in range(len(walks))] and found.timestamps is None


def test_histories_longer_than_fifty(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    walks = [random.integers(0, 6, length).tolist() for length in (51, 52, 53, 200, 5)]
    write(tmp_path, walks, 6)
    found = Sequences.read(run(tmp_path)["sequences"])
    ends = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    assert [found.items[start:end].tolist() for start, end in ends] == walks


def test_the_other_files(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2], [2, 1, 0, 1]], 3)
    outputs = run(tmp_path)
    assert read_vocab(outputs["vocab"]) == ["B0", "B1", "B2"]
    items = pl.read_parquet(outputs["items"])
    assert items["text"].to_list() == ["Glue.", 'One "inch" tape.', ""]
    text, image = FeatureFile.read(outputs["text"]), FeatureFile.read(outputs["image"])
    assert text.x[1].tolist() == [5, 6, 7, 8] and text.present.all()
    assert image.x[1].tolist() == [-5, -6, -7, -8] and image.present.tolist() == [False, True, True]
    statistics = json.loads(outputs["statistics"].read_text())
    assert statistics["interactions"] == 7 and statistics["length"] == {"min": 3, "mean": 3.5, "median": 3.5, "max": 4}
    assert statistics["paper"]["interactions"] == 5 and statistics["paper"]["items"] == 4


def test_the_texts_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    (tmp_path / "D.text").unlink()
    assert pl.read_parquet(run(tmp_path)["items"])["text"].to_list() == ["", "", ""]


def refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(DecorecError, match=match):
        run(folder, **options)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("ending", ["train.inter", "valid.inter", "test.inter", "item2index", "user2index", "feat1CLS"])
def test_a_missing_file(tmp_path: Path, ending: str) -> None:
    write(tmp_path, [[0, 1, 2, 3]], 4)
    (tmp_path / f"D.{ending}").unlink()
    refused(tmp_path, rf"D\.{ending}: expected .*, found no such file")


def test_features_of_the_wrong_length(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    np.zeros((2, WIDTH), dtype="<f4").tofile(tmp_path / "D.feat3CLS")
    refused(tmp_path, r"D\.feat3CLS: expected 3 items x 4 values x 4 bytes = 48 bytes, found 32")
    refused(tmp_path, r"D\.feat1CLS: expected 3 items x 5 values.*found 48 \(4 values per item\)", width=5)


def test_features_that_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    x = np.ones((3, WIDTH), dtype="<f4")
    x[1, 2] = np.nan
    x.tofile(tmp_path / "D.feat1CLS")
    refused(tmp_path, r"D\.feat1CLS, row 1 \(item 'B1'\): expected finite values")


@pytest.mark.parametrize(
    ("part", "before", "after", "match"),
    [
        ("train", "0\t0 1\t2", "0\t0 1\t3", r"valid\.inter: expected the leave-one-out expansion.*user 0 \('U0'\)"),
        ("train", "0\t0 1\t2", "0\t1\t2", "expected the leave-one-out expansion"),
        ("train", "0\t0 1\t2\n", "", "expected the leave-one-out expansion"),
        ("test", "0\t0 1 2 3\t4", "0\t0 1 2 2\t4", r"test\.inter: expected the leave-one-out expansion.*history of 4"),
        ("test", "0\t0 1 2 3\t4", "0\t0 1 2 3\t9", r"D\.test\.inter, line 2: expected a user index below 2 and item"),
        ("test", "0\t0 1 2 3\t4", "7\t0 1 2 3\t4", r"D\.test\.inter, line 2: expected a user index below 2 and item"),
        ("test", "0\t0 1 2 3\t4", "0\t0 x 2 3\t4", r"D\.test\.inter, line 2: expected a user index below 2 and item"),
        ("test", "0\t0 1 2 3\t4", "0\t\t4", r"D\.test\.inter, line 2: expected a user index below 2 and item"),
        ("test", "0\t0 1 2 3\t4\n", "", r"test\.inter: expected one row for each of 2 users, found 0 for user 0"),
        ("valid", "0\t0 1 2\t3", "0\t0 1 2\t3\n0\t0 1 2\t3", "expected one row for each of 2 users, found 2"),
        ("test", HEADER, "user\titem", "in 3 tab-separated columns, found 2|cannot be read"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, part: str, before: str, after: str, match: str) -> None:
    write(tmp_path, [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], 5)
    path = tmp_path / f"D.{part}.inter"
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))
    refused(tmp_path, match)


def test_an_index_with_a_gap(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    (tmp_path / "D.item2index").write_text("B0\t0\nB1\t1\nB2\t3\n")
    refused(tmp_path, r"D\.item2index: expected each id once, with the indices 0 to 2")


@pytest.mark.skipif(not SCIENTIFIC.exists(), reason="real data not at data/scientific")
def test_scientific_has_the_published_counts(tmp_path: Path) -> None:
    outputs = {name: tmp_path / name for name in OUTPUTS}
    atomic(dataset=AtomicDataset(source="atomic", path=str(SCIENTIFIC), name="Scientific"), **outputs)
    found = json.loads(outputs["statistics"].read_text())
    assert (found["items"], found["users"], found["interactions"]) == (1_585, 2_928, 19_712)
    assert found["paper"]["items"] == 1_586 and found["paper"]["interactions"] == 16_784
    assert round(100 * found["paper"]["sparsity"], 3) == 99.639
    assert found["length"]["min"] == 5 and found["length"]["max"] == 36
    text, image = FeatureFile.read(outputs["text"]), FeatureFile.read(outputs["image"])
    assert text.x.shape == image.x.shape == (1_585, 512) and text.present.all() and image.present.all()
    assert text.items == read_vocab(outputs["vocab"])
    assert np.fromfile(SCIENTIFIC / "Scientific.feat1CLS", "<f4").tobytes() == text.x.tobytes()
    assert (pl.read_parquet(outputs["items"])["text"] != "").all()
