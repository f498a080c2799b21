"""The table of recall: next items among the neighbours of the history."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import polars as pl
import scipy.sparse
import scipy.stats

from tests.support.traced.world import Row, World, aligned

VIEWS = ("interest", "modal-similarity", "modality-interest")


def nearest(scores: np.ndarray, possible: np.ndarray) -> dict[tuple[int, int], tuple[float, float]]:
    """(item, other) -> place of the other among the items near the first, the mean of a tie, and its score."""
    found = {}
    for item in range(len(scores)):
        others = np.flatnonzero(possible[item])
        near = scores[item, others]
        for other, score in zip(others.tolist(), near.tolist(), strict=True):
            place = 1 + (near > score).sum() + ((near == score).sum() - 1) / 2
            if place <= 200:
                found[item, other] = (float(place), score)
    return found


def predictions(world: World, near: dict[tuple[int, int], tuple[float, float]]) -> list[tuple[float, float, str, int]]:
    """(place, minus score, user, item) over all users, in order."""
    users = list(world.sequences)
    histories = [set(world.sequences[user][:-1]) for user in users]
    others: dict[int, list[tuple[int, float, float]]] = {}
    for (item, other), (place, score) in near.items():
        others.setdefault(item, []).append((other, place, score))
    best: dict[tuple[int, int], tuple[float, float]] = {}
    for number, history in enumerate(histories):
        for other, place, score in (near for item in history for near in others.get(item, [])):
            if other not in history:
                best[number, other] = min(best.get((number, other), (place, -score)), (place, -score))
    return sorted((*first, users[number], item) for (number, item), first in best.items())


def kept(found: list[tuple[float, float, str, int]], count: int) -> Iterator[tuple[float, str, int]]:
    """(share, user, item): whole ones, and a share each of those that tie for the last of ``count``."""
    for tie in ([*group] for _, group in groupby(found, key=lambda row: row[:2])):
        share = min(1.0, count / len(tie))
        yield from ((share, user, item) for _, _, user, item in tie)
        count -= len(tie)
        if count <= 0:
            return


def recall(world: World) -> Iterator[Row]:
    graph = scipy.sparse.load_npz(world.root / "graph" / "cooccurrence.npz").toarray()
    features = []
    names = pl.read_parquet(world.root / "vocab.parquet")["item"].to_list()
    for modality in ("text", "image"):
        x = aligned(world, modality, names)
        features.append(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
    both = np.concatenate(features, axis=1)
    cosine = both @ both.T / 2
    views = [nearest(graph.astype(float), graph > 0), nearest(cosine, ~np.eye(len(cosine), dtype=bool))]
    one, two = views
    views.append({pair: (max(one[pair][0], two[pair][0]), one[pair][1]) for pair in one if pair in two})
    wanted = 10 * len(world.sequences)
    found = [predictions(world, near) for near in views]
    made = min(wanted, *map(len, found))
    for view, predicted in zip(VIEWS, found, strict=True):
        hits = sum(share for share, user, item in kept(predicted, made) if world.sequences[user][-1] == item)
        row = {"dataset": world.dataset, "history": "masked", "view": view, "users": len(world.sequences), "hits": hits}
        nothing = dict.fromkeys(("paper_hits", "paper_predictions", "paper_precision"))
        yield row | {"predictions": made, "precision": hits / made} | nothing
