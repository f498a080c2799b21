"""Features files: what is written is read, rows follow the items, damage is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.data import item_features
from decorec.data.item_features import FeatureFile, Storage
from decorec.errors import DecorecError


def example() -> FeatureFile:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    return FeatureFile(x, np.array([True, False, True, True]), ["b", "ä", "c", "d"], {"encoder": "given"})


def test_round_trip(tmp_path: Path) -> None:
    example().write(tmp_path / "f")
    found = FeatureFile.read(tmp_path / "f")
    assert found.x.tolist() == example().x.tolist() and found.present.tolist() == example().present.tolist()
    assert found.items == ["b", "ä", "c", "d"] and found.metadata["encoder"] == "given"


def test_rows_follow_the_items_and_absent_ones_are_zero(tmp_path: Path) -> None:
    example().write(tmp_path / "f")
    x, present = FeatureFile.read(tmp_path / "f").aligned(["d", "ä", "b"])
    assert x.tolist() == [[9, 10, 11], [0, 0, 0], [0, 1, 2]]
    assert present.tolist() == [True, False, True]


def test_rows_of_one_length_keep_their_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_features, "ROWS", 3)  # more rows than are scaled at a time
    whole = example()
    assert whole.lengths() == pytest.approx([5**0.5, 50**0.5, 149**0.5, 302**0.5])
    zero = replace(whole, x=whole.x * whole.present[:, None])
    found = zero.of_length(10)
    assert found.x.dtype == np.float32 and found.metadata == {"encoder": "given", "length": "10"}
    for row in (0, 2, 3):
        assert found.x[row] == pytest.approx(whole.x[row] * 10 / np.linalg.norm(whole.x[row]), rel=1e-6)
        alone = replace(zero, x=zero.x[row : row + 1], present=zero.present[row : row + 1], items=["one"])
        assert np.array_equal(alone.of_length(10).x[0], found.x[row]), "a row does not depend on others"
    assert not found.x[1].any()


def test_unknown_item() -> None:
    with pytest.raises(DecorecError, match=r"expected a row for each of 2 items, found none for 1.*'z'"):
        example().aligned(["b", "z"])


def test_wrong_length(tmp_path: Path) -> None:
    wrong = FeatureFile(example().x[:3], example().present, example().items)
    with pytest.raises(DecorecError, match=r"f: expected one row of x.*4 items.*\(3, 3\)"):
        wrong.write(tmp_path / "f")
    assert not (tmp_path / "f").exists()
    example().write(tmp_path / "f")
    arrays, metadata = read_arrays(tmp_path / "f")
    write_arrays(tmp_path / "f", arrays | {"x": arrays["x"][:2]}, metadata)
    with pytest.raises(DecorecError, match=r"f: expected one row of x.*4 items.*\(2, 3\)"):
        FeatureFile.read(tmp_path / "f")


def test_items_that_do_not_match_their_checksum(tmp_path: Path) -> None:
    example().write(tmp_path / "f")
    arrays, metadata = read_arrays(tmp_path / "f")
    arrays["items"] = np.frombuffer("b\nä\nd\nc".encode(), dtype=np.uint8)
    write_arrays(tmp_path / "f", arrays, metadata)
    with pytest.raises(DecorecError, match="checksum"):
        FeatureFile.read(tmp_path / "f")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    write_arrays(tmp_path / "f", {"centroids": np.zeros(3, dtype=np.float32)})
    with pytest.raises(DecorecError, match="expected the arrays x, present and items, found"):
        FeatureFile.read(tmp_path / "f")
    write_arrays(tmp_path / "f", {"x": np.zeros((0, 2)), "present": np.zeros(0, bool), "items": np.zeros(0, np.uint8)})
    with pytest.raises(DecorecError, match="float32"):
        FeatureFile.read(tmp_path / "f")


def test_an_id_with_a_line_break(tmp_path: Path) -> None:
    wrong = FeatureFile(example().x[:1], example().present[:1], ["a\nb"])
    with pytest.raises(DecorecError, match="without line breaks"):
        wrong.write(tmp_path / "f")


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_rows_that_stay_on_the_disk_are_those_in_memory(storage: Storage, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 3)).astype(np.float32)
    x[1] = 0
    replace(example(), x=x).write(tmp_path / "f", storage)
    before = (tmp_path / "f").read_bytes()
    whole, mapped = FeatureFile.read(tmp_path / "f"), FeatureFile.read(tmp_path / "f", mapped=True)
    assert whole.x.dtype == np.float32 and mapped.x.dtype == storage and isinstance(mapped.x, np.memmap)
    assert np.array_equal(whole.x, mapped.x.astype(np.float32))
    np.testing.assert_allclose(whole.x, x, rtol=0 if storage == "float32" else 2**-11, atol=2**-25)
    rows, _ = mapped.aligned(["d", "ä", "b"])
    assert rows.dtype == np.float32 and np.array_equal(rows, whole.x[[3, 1, 0]])
    mapped.x[:] = 7
    assert (tmp_path / "f").read_bytes() == before


def test_a_value_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    large = replace(example(), x=example().x * 1e4)
    with pytest.raises(DecorecError, match=r"f: expected values up to 65504.*float16\), found 110000"):
        large.write(tmp_path / "f", "float16")
    assert not (tmp_path / "f").exists()
    large.write(tmp_path / "f")


def test_no_rows_stay_on_the_disk(tmp_path: Path) -> None:
    FeatureFile(np.empty((0, 3), np.float32), np.empty(0, np.bool_), []).write(tmp_path / "f")
    assert FeatureFile.read(tmp_path / "f", mapped=True).x.shape == (0, 3)
