"""Metrics of a ranked list with one true item, each a function of its rank.

A fractional rank (ties are averaged, see ``decorec.evaluation.ranking.ranks``) is not rounded: it is a hit if rank <=
k, and its gain is that of the fractional position. Two items that tie for positions 10 and 11 have rank 10.5,
a miss at 10 and a hit at 11. Gains are convex in the rank, so a tie gets a little less than the mean over
all orders of the tied items (rank 1.5: NDCG 0.756 instead of 0.815). A model does not benefit from ties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decorec.errors import DecorecError

__all__ = ["RANK_METRICS", "Metric", "MetricFunction", "parse_metric"]

Array = npt.NDArray[np.float64]


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
"""Function of (rank, cut-off)."""

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

    def __call__(self, rank: Array) -> Array:
        """Value for each rank (float64, any shape, ranks >= 1), same shape; the metric is the mean over users."""
        return self.function(rank, self.cutoff)


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
