"""What the first items of all users are like, besides being right or wrong: coverage, popularity, novelty, diversity.

Definitions of the literature differ between libraries; these are written out in docs/reference/tables.md. An item
that nobody had in training is an item like others: it counts in every denominator, and it belongs to the tail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decorec.data.id_codes import unique
from decorec.data.sequences import Sequences

__all__ = ["CUTOFF", "HEAD", "Items", "Lists", "coverage", "gini", "tail_of", "user_metrics"]

Floats = npt.NDArray[np.float64]
Lists = npt.NDArray[np.int32]
"""[lists, length] item indices, -1 behind the last; at least one item in each list."""

CUTOFF = 10
"""The first items of a list that the tables measure."""
HEAD = 5
"""The most popular fifth of the items is the head; the tail is the rest."""
ELEMENTS = 1 << 23
"""Size of the largest array of features that is gathered at once, in elements."""


@dataclass(frozen=True)
class Items:
    """What the metrics know of the N items of a data set."""

    counts: npt.NDArray[np.int64]
    """[N] interactions in the training part."""
    owners: npt.NDArray[np.int64]
    """[N] users who had the item in the training part."""
    users: int
    """Number of users."""
    tail: npt.NDArray[np.bool_]
    """[N] whether it belongs to the tail."""
    features: Mapping[str, npt.NDArray[np.float32]]
    """Modality -> [N, width] features, each row of length 1, or zero for an item without features."""

    @classmethod
    def of(cls, data: Sequences, items: int, features: Mapping[str, npt.NDArray[np.float32]]) -> Items:
        """Counted in the training part of ``data``; ``features``: modality -> [N, width], not normalised."""
        training = data.training()
        pairs = unique(training.owners * items + training.items)
        counts = training.counts(items)
        owners = np.bincount(pairs % items, minlength=items)
        unit = {name: _unit(x) for name, x in features.items()}
        return cls(counts, owners, len(data.users), tail_of(counts), unit)


def _unit(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit


def tail_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """[N] items outside the most popular fifth (rounded up) by ``counts`` [N]; equally popular ones in their order."""
    tail = np.ones(len(counts), dtype=bool)
    tail[np.argsort(-counts, kind="stable")[: -(-len(counts) // HEAD)]] = False
    return tail


def coverage(lists: Lists, items: int) -> float:
    """Share of all items that stand in some list."""
    return float(len(unique(lists[lists >= 0])) / items)


def gini(lists: Lists, items: int) -> float:
    """Gini coefficient of the items' appearances in all lists; items that never appear count (0: all equal)."""
    appearances = np.sort(np.bincount(lists[lists >= 0], minlength=items))
    weights = 2 * np.arange(1, items + 1) - items - 1
    return float((weights * appearances).sum() / (items * max(1, appearances.sum())))


def user_metrics(lists: Lists, items: Items) -> dict[str, Floats]:
    """Metric -> its value for each list, [lists]: means over the items of the list.

    Popularity: training interactions. PopularityShare: the same as a share of all. Novelty: MIUF, minus the binary
    logarithm of the share of users who had the item in training (at least one user). TailShare: share of items of the
    tail. ILD-MODALITY: 1 - cosine, the mean over pairs of items that have features; 0 without a pair.
    """
    inside = lists >= 0
    length = inside.sum(1)

    def mean(values: npt.NDArray[np.generic]) -> Floats:
        found: Floats = np.where(inside, values.astype(np.float64)[lists], 0.0).sum(1) / length
        return found

    popularity = mean(items.counts)
    novelty = -np.log2(np.maximum(items.owners, 1) / items.users)
    return {
        "Popularity": popularity,
        "PopularityShare": popularity / items.counts.sum(),
        "Novelty": mean(novelty),
        "TailShare": mean(items.tail),
        **{f"ILD-{name}": _diversity(lists, x) for name, x in items.features.items()},
    }


def _diversity(lists: Lists, unit: npt.NDArray[np.float32]) -> Floats:
    """Mean of 1 - cosine over the pairs of each list, from the length of the sum of its unit vectors."""
    known: npt.NDArray[np.bool_] = np.asarray(unit.any(axis=1))
    found = np.zeros(len(lists))
    size = max(1, ELEMENTS // (lists.shape[1] * unit.shape[1]))
    for start in range(0, len(lists), size):
        block = lists[start : start + size]
        inside = (block >= 0) & known[block]
        sums = np.where(inside[..., None], unit[block], 0).sum(1, dtype=np.float64)
        count = inside.sum(1)
        pairs = count * (count - 1)
        cosines = (sums**2).sum(1) - count  # twice the sum over pairs
        np.divide(pairs - cosines, pairs, out=found[start : start + size], where=pairs > 0)
    return found
