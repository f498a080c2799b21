"""What every artifact promises; a step checks its own output before it writes it.

A broken promise is a fault of this program or of a library, never of the user: it has to stop the step, since what
comes after would be a wrong number without an error. Each check costs one pass over the data at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.schemas.images import Status
from decorec.errors import DecorecError

__all__ = [
    "check_finite",
    "check_history",
    "check_images",
    "check_interactions",
    "check_interests",
    "check_lists",
    "check_matrix",
    "check_recommendations",
    "check_vocab",
    "promise",
]

STATUSES = set(get_args(Status))


def promise(holds: bool | np.bool_, path: Path, expected: str, found: object = "something else") -> None:
    """Raise an error about the file to be written unless ``holds``.

    Raises:
        DecorecError: a promise is broken.
    """
    if not holds:
        raise DecorecError(
            f"{path}: not written: expected {expected}, found {found}; this is a fault of this program, "
            "not of the data: please report it with the log of this step"
        )


def check_interactions(path: Path, interactions: pl.DataFrame, items: pl.Series, kcore: int) -> None:
    """No empty cell; items of the catalogue, all of them; at least ``kcore`` interactions of each user and item."""
    empty = interactions.select("user", "item", "timestamp").null_count().sum_horizontal().sum()
    promise(empty == 0, path, "a user, an item and a time in every row", f"{empty} empty cells")
    promise(items.n_unique() == len(items), path, "every item once in the catalogue", "one twice")
    bought = interactions["item"].unique().cast(pl.String)
    known = len(bought) == len(items) and bought.is_in(items.implode()).all()
    promise(known, path, "interactions with exactly the items of the catalogue")
    for column in ("user", "item"):
        fewest = interactions[column].value_counts()["count"].min() if len(interactions) else None
        promise(fewest is None or int(str(fewest)) >= kcore, path, f"{kcore} rows of each {column} or more", fewest)


def check_images(path: Path, images: pl.DataFrame, items: list[str]) -> None:
    """Items of the catalogue; one picture of an item at most; a checksum where, and only where, there is a picture."""
    promise(images["item"].is_in(items).all(), path, "items of the catalogue")
    promise(set(images["status"]) <= STATUSES, path, f"a status of {sorted(STATUSES)}", set(images["status"]))
    fetched = images["status"] == "ok"
    promise(images.filter(fetched)["sha256"].is_not_null().all(), path, "a checksum for each picture")
    promise((images["error"].is_null() == fetched).all(), path, "a reason for each address without a picture")
    promise(images.filter(fetched)["item"].is_unique().all(), path, "one picture of an item at most")


def check_vocab(path: Path, items: list[str]) -> None:
    """Each item once."""
    promise(len(set(items)) == len(items), path, "every item once", f"{len(items) - len(set(items))} repeats")


def check_matrix(path: Path, matrix: Any) -> None:
    """Finite, positive, with an empty diagonal, and with equal sums of rows and columns, as a symmetric matrix has."""
    data = matrix.data
    promise(np.isfinite(data).all() and (data > 0).all(), path, "positive counts")
    promise(not matrix.diagonal().any(), path, "no item beside itself")
    columns = np.bincount(matrix.indices, weights=data, minlength=matrix.shape[1])
    rows = np.bincount(np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), data, matrix.shape[0])
    promise(np.allclose(rows, columns, rtol=1e-5), path, "a symmetric matrix")


def check_interests(path: Path, centroids: npt.NDArray[Any], assignment: npt.NDArray[Any], items: int) -> None:
    """One cluster for each item, and finite centroids."""
    promise(assignment.shape == (items,), path, f"a cluster for each of {items} items", assignment.shape)
    within = not items or (assignment.min() >= 0 and assignment.max() < len(centroids))
    promise(within, path, f"clusters from 0 to {len(centroids) - 1}")
    check_finite(path, {"centroids": centroids})


def check_recommendations(
    path: Path,
    lists: npt.NDArray[np.int32],
    items: int,
    taken: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64] | None = None,
) -> None:
    """Each item once in a list, none that is taken, candidates alone, and nothing behind a gap.

    ``lists`` [users, length]: item indices, -1 behind the last. ``taken``: user x items + item, ascending.
    ``candidates``: the only items, ascending; None: all.
    """
    inside = lists >= 0
    promise(lists.max(initial=-1) < items, path, f"items from 0 to {items - 1}", lists.max(initial=-1))
    promise(not (inside[:, 1:] & ~inside[:, :-1]).any(), path, "no gap in a list")
    ordered = np.sort(lists, axis=1)
    promise(not ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(), path, "each item once in a list")
    if len(taken):
        pairs = (np.arange(len(lists))[:, None] * items + lists)[inside]
        place = np.minimum(np.searchsorted(taken, pairs), len(taken) - 1)
        promise(not (taken[place] == pairs).any(), path, "no masked item in a list")
    if candidates is not None:
        promise(bool(np.isin(lists[inside], candidates).all()), path, "candidates alone in a list")


def check_lists(path: Path, lists: npt.NDArray[np.int32], items: int, taken: npt.NDArray[np.int64]) -> None:
    """The same with all items as candidates, and as many in a list as there are room for and left.

    ``taken``: each pair once.
    """
    check_recommendations(path, lists, items, taken)
    inside = lists >= 0
    due = np.minimum(items - np.bincount(taken // items, minlength=len(lists)), lists.shape[1])
    wrong = inside.sum(1) != due
    promise(not wrong.any(), path, f"lists of {lists.shape[1]} items, or of all that are left", f"{wrong.sum()} others")


def check_finite(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """No NaN and no infinity in arrays of floats."""
    for name, array in arrays.items():
        floats = np.issubdtype(array.dtype, np.floating)
        promise(not floats or np.isfinite(array).all(), path, f"finite numbers in {name}", "NaN or an infinity")


def check_history(path: Path, history: pl.DataFrame) -> None:
    """Epochs 0, 1, 2, ... without a gap, one of which is the best."""
    promise(history["epoch"].to_list() == list(range(len(history))), path, "epochs without a gap")
    promise(history["best"].sum() == 1, path, "one best epoch", history["best"].sum())
