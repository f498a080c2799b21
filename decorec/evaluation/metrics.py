"""The metrics by name, and those that every table shows.

They stand apart from ``decorec.evaluation.rank_metrics``, which training depends on: a new metric trains nothing again.
"""

from __future__ import annotations

from decorec.evaluation import rank_metrics
from decorec.evaluation.rank_metrics import RANK_METRICS, Metric, MetricFunction

__all__ = ["MAIN", "METRICS", "NAMED", "REPORTED", "parse_metric"]

METRICS: dict[str, MetricFunction] = {**RANK_METRICS}
"""Name -> function of (rank without ties, cut-off). A new metric is one function and one entry here."""

MAIN = "NDCG@10"
"""The one that orders the runs of the page of results, and that is printed of a claim."""
NAMED = ("Hit@10", "Hit@50", MAIN, "NDCG@50", "MRR@10", "MRR@50")
"""Those that pages, claims and figures name: each of them stays."""
REPORTED = (*NAMED,)
"""Metrics of every table, in order. Another one, such as "Hit@20", is one more entry behind ``*NAMED``."""


def parse_metric(text: str) -> Metric:
    """The metric that ``text`` names, e.g. "NDCG@10".

    Raises:
        DecorecError: the name is not in METRICS, or the cut-off is not a positive integer.
    """
    return rank_metrics.parse_metric(text, METRICS)
