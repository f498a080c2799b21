"""Step recall: how many next items are found by co-occurrence, by likeness of the modalities, and by both at once.

No training: for the items of a user's history the nearest other items are predicted, near in the co-occurrence graph,
in the features, or in both. Views are compared at an equal number of predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_sparse, write_table
from decorec.artifacts.schemas import RECALL
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError

__all__ = [
    "VIEWS",
    "Neighbours",
    "intersect",
    "nearest_by_features",
    "nearest_in_graph",
    "neighbour_recall",
    "predict",
]

VIEWS = ("interest", "modal-similarity", "modality-interest")
"""Views, named as in the paper: co-occurrence, likeness of the modalities, both at once."""
NEAREST = 200
"""Neighbours looked at per item and view."""
ROWS_AT_ONCE = 512
log = logging.getLogger("decorec")


@dataclass(frozen=True)
class Neighbours:
    """Directed pairs of items (from an item to one near it), at most ``NEAREST`` per item."""

    item: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    level: npt.NDArray[np.int64]
    """1 for the nearest, 2 for the next, ..."""
    score: npt.NDArray[np.float64]
    """Orders predictions of equal level; larger is nearer."""


def _ranked(item: Any, other: Any, score: Any) -> Neighbours:
    """Pairs with their level, by falling score and then by item."""
    order = np.lexsort((other, -score, item))
    item, other, score = item[order], other[order], score[order]
    first = np.searchsorted(item, item)
    level = np.arange(len(item)) - first + 1
    kept = level <= NEAREST
    return Neighbours(item[kept], other[kept], level[kept], score[kept])


def nearest_in_graph(matrix: Any) -> Neighbours:
    """Items by co-occurrence; ``matrix``: CSR [I, I], zero diagonal."""
    item = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return _ranked(item, matrix.indices.astype(np.int64), matrix.data.astype(np.float64))


def nearest_by_features(features: list[npt.NDArray[np.float32]]) -> Neighbours:
    """Items by cosine, the mean over the modalities; each of ``features`` is [I, width]."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in features]
    both = np.concatenate(unit, axis=1)
    count = min(NEAREST, len(both) - 1)
    parts = [[], [], []]  # type: list[list[Any]]
    for begin in range(0, len(both), ROWS_AT_ONCE):
        rows = np.arange(begin, min(begin + ROWS_AT_ONCE, len(both)))
        scores = both[rows] @ both.T / len(features)
        scores[np.arange(len(rows)), rows] = -np.inf
        chosen = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        for part, values in zip(
            parts, (np.repeat(rows, count), chosen.ravel(), np.take_along_axis(scores, chosen, 1).ravel()), strict=True
        ):
            part.append(values)
    item, other, score = (np.concatenate(part) for part in parts)
    return _ranked(item, other, score.astype(np.float64))


def intersect(one: Neighbours, two: Neighbours) -> Neighbours:
    """Pairs near in both views; a pair's level is the larger of its two, its score that of the first view."""
    frames = [pl.DataFrame({"item": n.item, "other": n.other, "level": n.level, "score": n.score}) for n in (one, two)]
    joined = frames[0].join(frames[1], on=["item", "other"], suffix="_two", maintain_order="left")
    level = joined.select(pl.max_horizontal("level", "level_two"))["level"].to_numpy()
    return Neighbours(joined["item"].to_numpy(), joined["other"].to_numpy(), level, joined["score"].to_numpy())


def predict(data: Sequences, near: Neighbours, count: int) -> pl.DataFrame:
    """The ``count`` predictions of the lowest levels over all users: user (index), other (item), level.

    An item is predicted once per user, at its lowest level over the user's history (everything before the test item);
    items of the history itself are no predictions. Within a level, higher scores go first.
    """
    position = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths)
    history = position < np.repeat(data.lengths - 1, data.lengths)
    user = np.repeat(np.arange(len(data.users)), data.lengths)[history]
    seen = pl.DataFrame({"user": user, "item": data.items[history].astype(np.int64)}).unique(maintain_order=True)
    pairs = pl.DataFrame({"item": near.item, "other": near.other, "level": near.level, "score": near.score})
    found = pl.DataFrame()
    for limit in _doubling():
        expanded = seen.join(pairs.filter(pl.col("level") <= limit), on="item")
        new = expanded.join(seen, left_on=["user", "other"], right_on=["user", "item"], how="anti")
        found = new.group_by("user", "other").agg(pl.col("level").min(), pl.col("score").max())
        if len(found) >= count:
            break
    order = found.sort("level", "score", "user", "other", descending=[False, True, False, False])
    return order.head(count).select("user", "other", "level")


def _doubling() -> Iterator[int]:
    limit = 1
    while limit < NEAREST:
        yield limit
        limit *= 2
    yield NEAREST


def neighbour_recall(
    *,
    vocab: Path,
    sequences: Path,
    cooccurrence: Path,
    features: list[Path],
    predictions: int,
    recall: Path,
) -> None:
    """Count hits and predictions per user and view, with an equal number of predictions for all views.

    The total is ``predictions`` per user on average, or less if a view has no more. Writes one row per view and user:
    view, user, hits (0 or 1), predictions.

    Raises:
        DecorecError: the files belong to different items.
    """
    items, data, matrix = read_vocab(vocab), Sequences.read(sequences), read_sparse(cooccurrence)
    if matrix.shape != (len(items), len(items)):
        raise DecorecError(
            f"{cooccurrence}: expected a matrix of {len(items)} x {len(items)} items (the items of {vocab}), found "
            f"{matrix.shape[0]} x {matrix.shape[1]}; run the cooccurrence step again"
        )
    alike = nearest_by_features([FeatureFile.read(file).aligned(items)[0] for file in features])
    graph = nearest_in_graph(matrix)
    near = dict(zip(VIEWS, (graph, alike, intersect(graph, alike)), strict=True))
    wanted = predictions * len(data.users)
    predicted = {view: predict(data, near[view], wanted) for view in VIEWS}
    total = min(len(frame) for frame in predicted.values())
    target = data.items[data.offsets[1:] - 1]
    frames = []
    for view, frame in predicted.items():
        user, other = (frame.head(total)[name].to_numpy() for name in ("user", "other"))
        hits = np.bincount(user[other == target[user]], minlength=len(data.users))
        made = np.bincount(user, minlength=len(data.users))
        columns = {"view": [view] * len(made), "user": data.users, "hits": hits, "predictions": made}
        frames.append(pl.DataFrame(columns, schema=RECALL))
        log.info("recall: %s, %d hits in %d predictions", view, hits.sum(), total)
    write_table(recall, pl.concat(frames))
