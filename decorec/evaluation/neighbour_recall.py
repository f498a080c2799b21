"""Step neighbour-recall: how many next items are found by co-occurrence, by similar features, and by both together.

There is no training. The predictions are the nearest neighbours of the items in a user's history: near in the
co-occurrence graph, in the features, or in both. All views make the same number of predictions.
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
from decorec.artifacts.schemas.recall import RECALL
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError

__all__ = [
    "VIEWS",
    "Neighbours",
    "first",
    "intersect",
    "nearest_by_features",
    "nearest_in_graph",
    "neighbour_recall",
    "predict",
]

VIEWS = ("interest", "modal-similarity", "modality-interest")
"""Views, named as in the paper: co-occurrence, similarity of the modalities, both together."""
NEAREST = 200
"""Largest number of neighbours per item and view."""
ROWS_AT_ONCE = 512
log = logging.getLogger("decorec")


@dataclass(frozen=True)
class Neighbours:
    """Directed pairs of items (from an item to one near it), at most ``NEAREST`` per item."""

    item: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    level: npt.NDArray[np.float64]
    """1 for the nearest, 2 for the next, ...; of equally near ones the mean place, so that no order of items counts."""
    score: npt.NDArray[np.float64]
    """Sorts predictions of the same level; larger is nearer."""


def _ranked(item: Any, other: Any, score: Any) -> Neighbours:
    """Pairs with their level; sorted by decreasing score, then by item."""
    order = np.lexsort((other, -score, item))
    item, other, score = item[order], other[order], score[order]
    new = np.ones(len(item), np.bool_)  # where a tie, or a single pair, begins
    new[1:] = (item[1:] != item[:-1]) | (score[1:] != score[:-1])
    begin = np.flatnonzero(new)
    size = np.diff(np.append(begin, len(item)))
    place = begin - np.searchsorted(item, item[begin]) + 1
    level = np.repeat(place + (size - 1) / 2, size)
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
        last = -np.partition(-scores, count - 1, axis=1)[:, count - 1, None]
        nearer, tied = (scores > last).sum(1), (scores == last).sum(1)
        # A tie on the last place is there as a whole or not at all, by its mean place: _ranked could not tell a part.
        whole = nearer + (tied + 1) / 2 <= NEAREST
        row, other = np.nonzero((scores > last) | ((scores == last) & whole[:, None]))
        for part, values in zip(parts, (rows[row], other, scores[row, other]), strict=True):
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
    """Predictions of the lowest levels over all users, in order: user (index), other (item), level, score.

    An item is predicted once per user, at its lowest level over the user's history (all items before the test item).
    Items of the history itself are not predicted. Within a level, higher scores come first, of the pairs of this level.
    There are at least ``count`` if the view has as many.
    """
    history = np.arange(len(data.items)) < np.repeat(data.places("test"), data.lengths)
    user = data.owners[history]
    seen = pl.DataFrame({"user": user, "item": data.items[history].astype(np.int64)}).unique(maintain_order=True)
    pairs = pl.DataFrame({"item": near.item, "other": near.other, "level": near.level, "score": near.score})
    new = pl.DataFrame()
    for limit in _doubling():
        expanded = seen.join(pairs.filter(pl.col("level") <= limit), on="item").drop("item")
        new = expanded.join(seen, left_on=["user", "other"], right_on=["user", "item"], how="anti")
        if len(new.unique(["user", "other"])) >= count:
            break
    ordered = new.sort("level", "score", "user", "other", descending=[False, True, False, False])
    return ordered.unique(["user", "other"], keep="first", maintain_order=True)


def first(ordered: pl.DataFrame, count: int) -> pl.DataFrame:
    """The first ``count`` predictions of :func:`predict`, with the column share.

    Where they end within a tie (pairs of equal level and score), all of its pairs are there, each with the share of the
    orders of the tie in which it is among the first; every other share is 1.
    """
    tie = pl.struct("level", "score").rle_id()
    rows = ordered.with_columns(tie.alias("tie"), pl.int_range(pl.len()).alias("row"))
    share = (count - pl.col("row").min().over("tie")) / pl.len().over("tie")
    return rows.with_columns(share=share.clip(0.0, 1.0)).filter(pl.col("share") > 0).drop("tie", "row")


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
    """Count next items found among the nearest neighbours of each user's items, without training.

    All views (co-occurrence, similar features, both together) make the same number of predictions. Where equally near
    pairs compete for the last of them, each counts with the share of orders in which it is among them.

    Args:
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        cooccurrence: cooccurrence.npz (read).
        features: MODALITY.safetensors of every modality (read).
        predictions: mean number of predictions per user; fewer if a view cannot make as many.
        recall: recall.parquet (written), one row per view and user: view, user, hits (0 to 1), predictions.

    Raises:
        DecorecError: the files belong to different items.
    """
    items, data, matrix = read_vocab(vocab), Sequences.read(sequences).having("test"), read_sparse(cooccurrence)
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
    total = min(wanted, *map(len, predicted.values()))
    target = data.targets("test")
    frames = []
    for view, frame in predicted.items():
        kept = first(frame, total)
        user, other, share = (kept[name].to_numpy() for name in ("user", "other", "share"))
        hits = np.bincount(user, share * (other == target[user]), minlength=len(data.users))
        made = np.bincount(user, share, minlength=len(data.users))
        columns = {"view": [view] * len(made), "user": data.users, "hits": hits, "predictions": made}
        frames.append(pl.DataFrame(columns, schema=RECALL))
        log.info("recall: %s, %.1f hits in %d predictions", view, hits.sum(), total)
    write_table(recall, pl.concat(frames))
