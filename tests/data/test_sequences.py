"""Vocabulary and sequences: what is written is read, and the training part ends before the last two items."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decorec.data.id_codes import codes_in, factorise, first_appearances, sorted_by, unique
from decorec.data.sequences import COLUMNS, Sequences, read_vocab, write_vocab
from decorec.errors import DecorecError


def example(times: bool) -> Sequences:
    timestamps = np.array([5, 6, 7, 1, 2, 3, 4]) if times else None
    return Sequences(["u", "v"], np.array([0, 3, 7]), np.array([2, 1, 0, 3, 3, 2, 1], dtype=np.int32), timestamps)


@pytest.mark.parametrize("times", [True, False])
def test_round_trip(tmp_path: Path, times: bool) -> None:
    example(times).write(tmp_path / "s")
    table = pl.read_parquet(tmp_path / "s")
    assert table.schema == COLUMNS
    assert table.select("training", "valid", "test").rows() == [(1, 1, 2), (2, 2, 3)], "leave-one-out is stated too"
    assert table["items"].to_list() == [[2, 1, 0], [3, 3, 2, 1]]
    assert table["timestamps"].to_list() == ([[5, 6, 7], [1, 2, 3, 4]] if times else [[None] * 3, [None] * 4])
    found = Sequences.read(tmp_path / "s")
    assert found.users == ["u", "v"] and found.lengths.tolist() == [3, 4]
    assert found.items.tolist() == example(times).items.tolist() and found.items.dtype == np.int32
    assert (found.timestamps is None) is not times
    if times:
        assert found.timestamps is not None and found.timestamps.tolist() == [5, 6, 7, 1, 2, 3, 4]


def test_training_part() -> None:
    part = example(True).training()
    assert part.items.tolist() == [2, 3, 3] and part.offsets.tolist() == [0, 1, 3]
    assert part.timestamps is not None and part.timestamps.tolist() == [5, 1, 2]


def test_vocabulary(tmp_path: Path) -> None:
    write_vocab(tmp_path / "v", ["b", "a"])
    assert read_vocab(tmp_path / "v") == ["b", "a"]
    pl.read_parquet(tmp_path / "v").reverse().write_parquet(tmp_path / "v")
    with pytest.raises(DecorecError, match="expected the index 0 to 1 in order"):
        read_vocab(tmp_path / "v")


def test_a_table_of_something_else(tmp_path: Path) -> None:
    pl.DataFrame({"user": ["u"], "items": [[1.5]]}).write_parquet(tmp_path / "s")
    with pytest.raises(DecorecError, match="column 'items' of type"):
        Sequences.read(tmp_path / "s")


def test_codes_count_by_first_appearance() -> None:
    random = np.random.default_rng(0)
    values = pl.Series("v", [f"x{number}" for number in random.integers(0, 500, 5_000)])
    codes, names = factorise(values)
    order = list(dict.fromkeys(values.to_list()))
    assert names.to_list() == order
    assert codes.tolist() == [order.index(value) for value in values]
    assert codes_in(pl.Series([order[3], "?", order[0]]), names).tolist() == [3, -1, 0]
    assert first_appearances(np.array([4, 1, 4, 0, 1]), 6).tolist() == [4, 1, 0]


@given(st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62)), max_size=30), st.randoms())
def test_sorting_keeps_the_order_of_equal_values(values: list[int], random: Random) -> None:
    rows = random.sample(range(len(values)), len(values))
    found = sorted_by(np.array(values, dtype=np.int64), np.array(rows, dtype=np.int64))
    assert found.tolist() == sorted(rows, key=lambda row: values[row])


def test_codes_of_nothing() -> None:
    codes, names = factorise(pl.Series("v", [], dtype=pl.String))
    assert len(codes) == len(names) == 0


def test_bytes_do_not_depend_on_how_many_lists_are_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = np.arange(3, 12)
    flat = np.arange(lengths.sum())
    found = Sequences(
        [f"u{n}" for n in lengths], np.concatenate([[0], np.cumsum(lengths)]), flat.astype(np.int32), flat
    )
    found.write(tmp_path / "whole")
    monkeypatch.setattr("decorec.data.sequences.BLOCK", 2)
    found.write(tmp_path / "parts")
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("values", [[], [5], [3, 1, 3, 3, -2], [7] * 4, list(range(9, 0, -1))])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_unique_values_are_those_of_numpy(values: list[int], kind: type[np.signedinteger[Any]]) -> None:
    array = np.array(values, dtype=kind)
    found = unique(array)
    assert found.dtype == kind and found.tolist() == np.unique(array).tolist()
