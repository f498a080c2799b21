"""Metrics of a ranked list with one true item, computed from where that item stands.

A model may give other items the score of the true one. Then its place is any of ``equal + 1`` neighbouring places, and
each metric is the mean of its values at these places: the mean over all orders of the tied items. It is not the value
at their mean place: 19 items with one score give Hit@10 = 10 / 19, though the mean place is 10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.errors import DecorecError

__all__ = ["RANK_METRICS", "Metric", "MetricFunction", "Ranks", "parse_metric"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where true items stand among the candidates: on the places ``higher`` + 1 to ``higher`` + ``equal`` + 1."""

    higher: Counts
    """Candidates scored higher than the true item; any shape."""
    equal: Counts
    """Other candidates with exactly the score of the true item; same shape."""

    def __getitem__(self, index: Any) -> Ranks:
        """A part, by any index of NumPy."""
        return Ranks(self.higher[index], self.equal[index])

    def __eq__(self, other: object) -> bool:
        """Whether both say the same of the same items."""
        if not isinstance(other, Ranks):
            return NotImplemented
        return np.array_equal(self.higher, other.higher) and np.array_equal(self.equal, other.equal)

    def mean_rank(self) -> Array:
        """The mean place over all orders of the tied items, at least 1; to show, not to compute metrics from."""
        return 1 + self.higher + self.equal / 2


def hit(rank: Array, k: int) -> Array:
    """1 if the true item is among the first k, otherwise 0; with one true item also Recall@k."""
    return np.where(rank <= k, 1.0, 0.0)


def ndcg(rank: Array, k: int) -> Array:
    """1 / log2(rank + 1) among the first k, otherwise 0; the ideal gain of one true item is 1."""
    return np.where(rank <= k, 1 / np.log2(rank + 1), 0.0)


def mrr(rank: Array, k: int) -> Array:
    """1 / rank among the first k, otherwise 0."""
    return np.where(rank <= k, 1 / rank, 0.0)


MetricFunction = Callable[[Array, int], Array]
"""Function of (rank of an item that ties with no other: 1.0, 2.0, ..., cut-off)."""

RANK_METRICS: dict[str, MetricFunction] = {"Hit": hit, "NDCG": ndcg, "MRR": mrr}
"""Name -> function. Training monitors these; what tables show besides them is in ``decorec.evaluation.metrics``."""


@dataclass(frozen=True)
class Metric:
    """A metric at one cut-off."""

    name: str
    cutoff: int
    """Length of the list, at least 1."""
    function: MetricFunction

    def __str__(self) -> str:
        return f"{self.name}@{self.cutoff}"

    def __call__(self, ranks: Ranks) -> Array:
        """Value for each true item (float64, the shape of ``ranks``); the metric is the mean over users.

        Where nothing ties it is the function itself, to the last bit. Elsewhere it is the mean of the function over the
        places of the tie, a difference of cumulative sums.
        """
        alone = self.function(ranks.higher.astype(np.float64) + 1, self.cutoff)
        if not ranks.equal.any():
            return alone
        last = ranks.higher + ranks.equal + 1
        places: Array = np.arange(1, int(last.max()) + 1, dtype=np.float64)
        gains = self.function(places, self.cutoff)
        sums = np.concatenate([[0.0], np.cumsum(gains)])
        return np.where(ranks.equal == 0, alone, (sums[last] - sums[ranks.higher]) / (ranks.equal + 1))


def parse_metric(text: str, known: Mapping[str, MetricFunction] = RANK_METRICS) -> Metric:
    """The metric that ``text`` names, e.g. "NDCG@10".

    Args:
        text: name, @ and cut-off.
        known: name -> function.

    Raises:
        DecorecError: the name is not known, or the cut-off is not a positive integer.
    """
    match = re.fullmatch(r"([A-Za-z]+)@([1-9][0-9]*)", text)
    if match is None or match[1] not in known:
        raise DecorecError(
            f"metric {text!r}: expected one of {', '.join(known)}, then @ and a cut-off (NDCG@10); correct the name"
        )
    return Metric(match[1], int(match[2]), known[match[1]])
