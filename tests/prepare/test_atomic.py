"""Atomic files: sequences come back from their expansion, and every row is checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decorec.config.datasets import AtomicDataset
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.features.atomic import atomic_features
from decorec.prepare.atomic import atomic

SCIENTIFIC = Path("data/scientific")
OUTPUTS = ("catalogue", "vocab", "sequences", "statistics")
MODALITIES = ("text", "image")
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


def described(folder: Path, **options: Any) -> AtomicDataset:
    """The data set that ``write`` writes; ``options`` are keys of its configuration."""
    values = {"source": "atomic", "path": str(folder), "name": "D", "width": WIDTH}
    return AtomicDataset.model_validate(values | options)


def steps(dataset: AtomicDataset, folder: Path, modalities: Sequence[str]) -> dict[str, Path]:
    """The steps atomic and, for each of ``modalities``, atomic-features."""
    outputs = {name: folder / name for name in OUTPUTS}
    features = {modality: folder / f"{modality}.safetensors" for modality in modalities}
    atomic(dataset=dataset, **outputs)
    for modality, path in features.items():
        atomic_features(dataset=dataset, modality=modality, features=path)
    return outputs | features


def run(folder: Path, **options: Any) -> dict[str, Path]:
    return steps(described(folder, **options), folder / "out", MODALITIES)


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


def test_given_vectors_of_one_length(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [[0, 1, 2], [2, 1, 0, 1]], 3)
    raw, scaled = FeatureFile.read(run(tmp_path)["text"]), FeatureFile.read(run(tmp_path, length=0.5)["text"])
    assert raw.x == pytest.approx(scaled.x * raw.lengths()[:, None] / 0.5, rel=1e-6)
    assert caplog.text.count("expected vectors of a length of about 10") == 2
    assert "found 0.5 (median of 3)" in caplog.text and "length in the section of the data set: 10" in caplog.text


def test_the_other_files(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2], [2, 1, 0, 1]], 3)
    outputs = run(tmp_path)
    assert read_vocab(outputs["vocab"]) == ["B0", "B1", "B2"]
    items = pl.read_parquet(outputs["catalogue"])
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
    assert pl.read_parquet(run(tmp_path)["catalogue"])["text"].to_list() == ["", "", ""]


@pytest.mark.parametrize(("item", "encoding"), [("b1", "utf-8"), ("B1", "utf-16")])
def test_texts_of_other_items_are_refused(tmp_path: Path, item: str, encoding: str) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    (tmp_path / "D.text").write_bytes(f"item_id:token\ttext:token_seq\n{item}\tTape.\n".encode(encoding))
    with pytest.raises(
        DecorecError, match=r"D\.text: expected texts of the items of \.item2index, such as 'B0', found"
    ):
        run(tmp_path)


def refused(folder: Path, match: str) -> None:
    """The step atomic fails and writes nothing."""
    with pytest.raises(DecorecError, match=match):
        atomic(dataset=described(folder), **{name: folder / "out" / name for name in OUTPUTS})
    assert not (folder / "out").exists()


def features_refused(folder: Path, modality: str, match: str, **options: Any) -> None:
    """The step atomic-features fails and writes nothing."""
    with pytest.raises(DecorecError, match=match):
        atomic_features(dataset=described(folder, **options), modality=modality, features=folder / "out" / "features")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("ending", ["train.inter", "valid.inter", "test.inter", "item2index", "user2index"])
def test_a_missing_file(tmp_path: Path, ending: str) -> None:
    write(tmp_path, [[0, 1, 2, 3]], 4)
    (tmp_path / f"D.{ending}").unlink()
    refused(tmp_path, rf"D\.{ending}: expected .*, found no such file")


@pytest.mark.parametrize(("ending", "modality"), [("item2index", "text"), ("feat1CLS", "text"), ("feat3CLS", "image")])
def test_a_missing_file_of_features(tmp_path: Path, ending: str, modality: str) -> None:
    write(tmp_path, [[0, 1, 2, 3]], 4)
    (tmp_path / f"D.{ending}").unlink()
    features_refused(tmp_path, modality, rf"D\.{ending}: expected .*, found no such file")


def test_features_of_the_wrong_length(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    np.zeros((2, WIDTH), dtype="<f4").tofile(tmp_path / "D.feat3CLS")
    features_refused(tmp_path, "image", r"D\.feat3CLS: expected 3 items x 4 values x 4 bytes = 48 bytes, found 32")
    match = r"D\.feat1CLS: expected 3 items x 5 values.*found 48 \(4 values per item\)"
    features_refused(tmp_path, "text", match, width=5)
    features_refused(tmp_path, "text", match, width={"text": 5, "image": WIDTH})


def test_features_that_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    x = np.ones((3, WIDTH), dtype="<f4")
    x[1, 2] = np.nan
    x.tofile(tmp_path / "D.feat1CLS")
    features_refused(tmp_path, "text", r"D\.feat1CLS, row 1 \(item 'B1'\): expected finite values")


@pytest.mark.parametrize(
    ("part", "before", "after", "match"),
    [
        ("train", "0\t0 1\t2", "0\t0 1\t3", r"valid\.inter: expected the leave-one-out windows.*user 0 \('U0'\)"),
        ("train", "0\t0 1\t2", "0\t1\t2", "expected the leave-one-out windows"),
        ("train", "0\t0 1\t2\n", "", "expected the leave-one-out windows"),
        ("test", "0\t0 1 2 3\t4", "0\t0 1 2 2\t4", r"test\.inter: expected the leave-one-out windows.*history of 4"),
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
    features_refused(tmp_path, "text", r"D\.item2index: expected each id once, with the indices 0 to 2")


def test_a_third_modality_has_a_file_and_a_width_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2], [2, 1, 0, 1]], 3)
    audio = np.array([[1, 2], [0, 0], [3, 4]], dtype="<f4")
    audio.tofile(tmp_path / "D.featAudio")
    dataset = described(tmp_path, features={"audio": "featAudio"}, width={"text": WIDTH, "image": WIDTH, "audio": 2})
    assert sorted(dataset.modalities) == ["audio", "image", "text"], "text and image need not be named"
    outputs = steps(dataset, tmp_path / "out", dataset.modalities)
    found = FeatureFile.read(outputs["audio"])
    assert found.x.tobytes() == audio.tobytes() and found.present.tolist() == [True, False, True]
    assert found.items == read_vocab(outputs["vocab"]) == ["B0", "B1", "B2"]
    assert found.metadata["encoder"] == "given" and found.metadata["source"] == "D.featAudio"
    assert FeatureFile.read(outputs["text"]).x[1].tolist() == [5, 6, 7, 8]
    assert FeatureFile.read(outputs["image"]).x[1].tolist() == [-5, -6, -7, -8]


def test_vectors_with_ids_may_stand_in_any_order(tmp_path: Path) -> None:
    """Their file says whose its rows are, how wide and of which type; what is not of the data set is passed over."""
    write(tmp_path, [[0, 1, 2], [2, 1, 0, 1]], 3)
    rows = {"B2": [5.0, 6.0], "new": [7.0, 8.0], "B0": [1.0, 2.0], "B1": None}
    table = pl.DataFrame({"item": list(rows), "vector": list(rows.values())})
    table.write_parquet(tmp_path / "D.audio.parquet")
    dataset = described(tmp_path, features={"audio": "audio.parquet"})
    outputs = steps(dataset, tmp_path / "out", ["audio"])
    found = FeatureFile.read(outputs["audio"])
    assert found.x.tolist() == [[1, 2], [0, 0], [5, 6]] and found.present.tolist() == [True, False, True]
    assert found.items == ["B0", "B1", "B2"] and found.metadata["source"] == "D.audio.parquet"
    (tmp_path / "out/audio.safetensors").rename(tmp_path / "D.audio.safetensors")
    again = described(tmp_path, features={"audio": "audio.safetensors"})
    assert FeatureFile.read(steps(again, tmp_path / "again", ["audio"])["audio"]).x.tolist() == found.x.tolist()
    table.with_columns(item=pl.lit("b") + pl.col("item").str.slice(1)).write_parquet(tmp_path / "D.audio.parquet")
    with pytest.raises(DecorecError, match=r"D\.audio\.parquet"):
        atomic_features(dataset=dataset, modality="audio", features=tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype("<f2").astype("<f4"), None),
        (lambda x: (100 * x).round() / 100, None),
        (lambda x: (1_000 * x).round(), None),
        (lambda x: 2 * np.eye(*x.shape, dtype="<f4"), None),
        (
            lambda x: np.concatenate([x, x], 1).astype("<f2"),
            "expected values of float32, found those of float16; wri",
        ),
        (
            lambda x: x[:, :32].astype("<f8"),
            "expected values of float32, found those of float64; write",
        ),
        (lambda x: x.astype("<f2"), "found 7680 .*; that is the size of float16: write it with"),
        (lambda x: x.astype("<f8"), "found 30720 .*; that is the size of float64: write it with"),
        (
            lambda x: np.frombuffer(b"0.125,-1" * 1_920, "<f4"),
            r"found text \('0\.125,-10\.125,-10\.12'\); read",
        ),
        (
            lambda x: np.frombuffer(b"\x93NUMPY".ljust(15_360, b"\1"), "<f4"),
            r"found an array of numpy \(\.npy\)",
        ),
        (lambda x: 0 * x, "expected a vector of at least one of the 60 items of .item2index, found none"),
    ],
)
def test_bytes_of_another_type_are_no_features(tmp_path: Path, change: Any, message: str | None) -> None:
    """They have a length that fits, or nearly, and would be numbers without a meaning."""
    write(tmp_path, [[0, 1, 2]], 60)
    x = np.random.default_rng(0).normal(size=(60, 64)).astype("<f4")
    change(x).astype(change(x).dtype).tofile(tmp_path / "D.feat1CLS")
    if message is None:
        dataset = described(tmp_path, width=64)
        assert FeatureFile.read(steps(dataset, tmp_path / "out", ["text"])["text"]).x.tobytes() == change(x).tobytes()
    else:
        features_refused(tmp_path, "text", message, width=64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": {"audi": 24}}, "width names 'audi'; expected one of the modalities text, image, audio"),
        ({"width": {"audio": 24}}, r"width names 'audio', whose file \(audio\.parquet\) says its width itself"),
    ],
)
def test_widths_that_count_for_no_file_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        described(tmp_path, features={"audio": "audio.parquet"}, **options)


def test_endings_of_text_and_image_may_be_others(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    (tmp_path / "D.feat1CLS").rename(tmp_path / "D.words")
    outputs = run(tmp_path, features={"text": "words"})
    assert FeatureFile.read(outputs["text"]).x[1].tolist() == [5, 6, 7, 8]
    assert FeatureFile.read(outputs["image"]).x[1].tolist() == [-5, -6, -7, -8]


def test_a_width_that_is_not_given_is_512(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    (tmp_path / "D.feat1CLS").unlink()
    np.ones((3, 512), dtype="<f4").tofile(tmp_path / "D.feat1CLS")
    assert FeatureFile.read(run(tmp_path, width={"image": WIDTH})["text"]).x.shape == (3, 512)


def test_an_unknown_modality(tmp_path: Path) -> None:
    write(tmp_path, [[0, 1, 2]], 3)
    match = (
        "--modality: expected one of text, image, found 'audio'; add the ending of its file to the key features of "
        "the data set"
    )
    features_refused(tmp_path, "audio", match)


@pytest.mark.skipif(not SCIENTIFIC.exists(), reason="real data not at data/scientific")
def test_scientific_has_the_published_counts(tmp_path: Path) -> None:
    outputs = steps(AtomicDataset(source="atomic", path=str(SCIENTIFIC), name="Scientific"), tmp_path, MODALITIES)
    found = json.loads(outputs["statistics"].read_text())
    assert (found["items"], found["users"], found["interactions"]) == (1_585, 2_928, 19_712)
    assert found["paper"]["items"] == 1_586 and found["paper"]["interactions"] == 16_784
    assert round(100 * found["paper"]["sparsity"], 3) == 99.639
    assert found["length"]["min"] == 5 and found["length"]["max"] == 36
    text, image = FeatureFile.read(outputs["text"]), FeatureFile.read(outputs["image"])
    assert text.x.shape == image.x.shape == (1_585, 512) and text.present.all() and image.present.all()
    assert text.items == read_vocab(outputs["vocab"])
    assert np.fromfile(SCIENTIFIC / "Scientific.feat1CLS", "<f4").tobytes() == text.x.tobytes()
    assert (pl.read_parquet(outputs["catalogue"])["text"] != "").all()


@pytest.mark.parametrize("file", ["D.train.inter", "D.valid.inter", "D.test.inter", "D.text"])
def test_a_file_without_a_header_is_refused_with_its_first_row(tmp_path: Path, file: str) -> None:
    write(tmp_path, [[0, 1, 2, 3], [1, 2, 3, 4]], 6)
    path = tmp_path / file
    header, first, rest = path.read_text().split("\n", 2)
    path.write_text(f"{first}\n{rest}")
    with pytest.raises(DecorecError) as caught:
        run(tmp_path)
    assert f"{path}, line 1: expected a header such as {header!r}, found the row {first!r}" in str(caught.value)


def test_the_case_without_a_header(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "shared" / "cases" / "atomic-no-header"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    with pytest.raises(DecorecError, match=r"toy\.train\.inter, line 1: expected a header"):
        steps(AtomicDataset(source="atomic", path=str(folder), name="toy"), tmp_path, [])
