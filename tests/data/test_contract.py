"""Each promise of an artifact, broken: the step says so and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse

from decorec.data import contract
from decorec.data.sequences import Sequences, check_sequences, read_vocab, write_vocab
from decorec.errors import DecorecError

FILE = Path("results/shop/file")
ROWS = pl.DataFrame({"user": ["u", "u", "v", "v"], "item": ["a", "b", "a", "b"], "timestamp": [1, 2, 3, 4]})
ITEMS = pl.Series(["a", "b"])
IMAGES = pl.DataFrame(
    {
        "item": ["a", "a", "b"],
        "status": ["transient", "ok", "ok"],
        "sha256": [None, "1", "2"],
        "error": ["x", None, None],
    }
)
SEQUENCES = Sequences(
    ["u", "v"], np.array([0, 3, 6]), np.array([0, 1, 2, 2, 1, 0], np.int32), np.array([5, 5, 6, 1, 2, 3])
)
MATRIX = scipy.sparse.csr_matrix(np.array([[0, 2, 0], [2, 0, 1], [0, 1, 0]], np.float32))
CENTROIDS = np.zeros((2, 3), np.float32)
LISTS = np.array([[2, 0, 1], [1, 0, -1]], np.int32)
TAKEN = np.array([3 + 2])
"""The second of two users had item 2 of three."""
HISTORY = pl.DataFrame({"epoch": [0, 1], "best": [False, True]})


def changed(frame: pl.DataFrame, row: int, **cells: Any) -> pl.DataFrame:
    """``frame`` with other values in one row."""
    rows = frame.rows(named=True)
    rows[row] |= cells
    return pl.DataFrame(rows, schema=frame.schema)


def entry(row: int, column: int, value: float) -> Any:
    """``MATRIX`` with another value in one cell."""
    dense = MATRIX.toarray()
    dense[row, column] = value
    return scipy.sparse.csr_matrix(dense)


def sequences(complete: bool = True, items: int = 3, **changes: Any) -> Callable[[], None]:
    return lambda: check_sequences(FILE, replace(SEQUENCES, **changes), items, complete)


BROKEN: dict[str, tuple[Callable[[], None], str]] = {
    "empty cell": (lambda: contract.check_interactions(FILE, changed(ROWS, 1, user=None), ITEMS, 1), "1 empty cells"),
    "item unknown": (
        lambda: contract.check_interactions(FILE, changed(ROWS, 1, item="c"), ITEMS, 1),
        "exactly the items",
    ),
    "item twice": (lambda: contract.check_interactions(FILE, ROWS, pl.Series(["a", "b", "a"]), 1), "every item once"),
    "core": (lambda: contract.check_interactions(FILE, changed(ROWS, 1, user="v"), ITEMS, 2), "2 rows of each user"),
    "image of nothing": (lambda: contract.check_images(FILE, IMAGES, ["b"]), "items of the catalogue"),
    "two images": (
        lambda: contract.check_images(FILE, changed(IMAGES, 2, item="a"), ["a", "b"]),
        "one picture of an item",
    ),
    "status": (lambda: contract.check_images(FILE, changed(IMAGES, 0, status="lost"), ["a", "b"]), "lost"),
    "checksum": (lambda: contract.check_images(FILE, changed(IMAGES, 1, sha256=None), ["a", "b"]), "a checksum"),
    "reason": (lambda: contract.check_images(FILE, changed(IMAGES, 0, error=None), ["a", "b"]), "a reason"),
    "vocab": (lambda: contract.check_vocab(FILE, ["a", "b", "a"]), "1 repeats"),
    "user twice": (sequences(users=["u", "u"]), "every user once"),
    "too short": (sequences(offsets=np.array([0, 2, 6])), "three items"),
    "item outside": (sequences(items=2), "items from 0 to 1"),
    "item unused": (sequences(items=4), "1 in none"),
    "time falls": (sequences(timestamps=np.array([5, 4, 6, 1, 2, 3])), "1 steps back"),
    "negative count": (lambda: contract.check_matrix(FILE, entry(0, 1, -2)), "positive"),
    "NaN": (lambda: contract.check_matrix(FILE, entry(0, 1, np.nan)), "positive"),
    "diagonal": (lambda: contract.check_matrix(FILE, entry(1, 1, 1)), "beside itself"),
    "one side": (lambda: contract.check_matrix(FILE, entry(0, 1, 3)), "symmetric"),
    "cluster": (lambda: contract.check_interests(FILE, CENTROIDS, np.array([0, 2]), 2), "clusters from 0 to 1"),
    "no cluster": (lambda: contract.check_interests(FILE, CENTROIDS, np.array([0]), 2), "each of 2 items"),
    "centroid": (lambda: contract.check_interests(FILE, CENTROIDS * np.nan, np.array([0, 1]), 2), "in centroids"),
    "item beyond the last": (lambda: contract.check_lists(FILE, LISTS + 1, 3, TAKEN), "items from 0 to 2, found 3"),
    "item twice in a list": (lambda: contract.check_lists(FILE, LISTS[:, [0, 0, 1]], 3, TAKEN), "each item once"),
    "item masked": (lambda: contract.check_lists(FILE, LISTS, 3, TAKEN - 1), "no masked item"),
    "short list": (lambda: contract.check_lists(FILE, LISTS, 3, TAKEN[:0]), "that are left, found 1 others"),
    "infinity": (lambda: contract.check_finite(FILE, {"x": np.array([1.0, np.inf])}), "in x"),
    "gap": (lambda: contract.check_history(FILE, changed(HISTORY, 1, epoch=2)), "without a gap"),
    "two best": (lambda: contract.check_history(FILE, changed(HISTORY, 0, best=True)), "one best epoch, found 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_an_error(name: str) -> None:
    check, message = BROKEN[name]
    with pytest.raises(DecorecError, match=rf"^results/shop/file: not written: .*{message}"):
        check()


def test_what_keeps_its_promises_passes(tmp_path: Path) -> None:
    contract.check_interactions(FILE, ROWS, ITEMS, 2)
    contract.check_images(FILE, IMAGES, ["a", "b"])
    contract.check_matrix(FILE, MATRIX)
    contract.check_interests(FILE, CENTROIDS, np.array([0, 1]), 2)
    contract.check_lists(FILE, LISTS, 3, TAKEN)
    contract.check_finite(FILE, {"x": np.array([1.0]), "items": np.array([1], np.uint8)})
    contract.check_history(FILE, HISTORY)
    sequences()()
    sequences(timestamps=None)()
    sequences(complete=False, items=4)()
    write_vocab(tmp_path / "vocab", ["a", "b"])
    with pytest.raises(DecorecError, match="1 repeats"):
        write_vocab(tmp_path / "vocab", ["a", "a"])
    assert read_vocab(tmp_path / "vocab") == ["a", "b"], "nothing was written"
