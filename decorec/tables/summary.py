"""One row per data set, metric and run: mean and spread over seeds, interval over users, paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decorec.config.root import EvaluateConfig
from decorec.errors import DecorecError
from decorec.metrics import parse_metric
from decorec.progress import track
from decorec.significance import bootstrap_interval, paired_test
from decorec.tables.collect import RunRanks, read_runs

__all__ = ["METRICS", "Summary", "paper_compatible", "summarise"]

METRICS = ("Hit@10", "Hit@50", "NDCG@10", "NDCG@50", "MRR@10", "MRR@50")
"""Metrics of every table, in order."""


@dataclass(frozen=True)
class Summary:
    """One metric of one run on one data set."""

    dataset: str
    metric: str
    run: str
    mean: float
    """Mean over users and seeds."""
    std: float | None
    """Sample standard deviation (n - 1) over seeds of the mean over users; None with a single seed."""
    seeds: int
    ci_low: float
    ci_high: float
    """Bootstrap interval over users of the mean over seeds."""
    p_value: float | None
    """Paired test of the reference run against this run; None for the reference itself."""
    users: int


def paper_compatible(metric: str) -> str:
    """The metric that the paper most likely computed under the name ``metric``: its cut-offs are one too large."""
    exact = parse_metric(metric)
    return f"{exact.name}@{exact.cutoff + 1}"


def _values(run: RunRanks, metrics: Sequence[str]) -> npt.NDArray[np.float64]:
    """[S, U, M] value of each metric per seed and user."""
    return np.stack([parse_metric(metric)(run.ranks) for metric in metrics], axis=-1)


def _summarise_dataset(
    dataset: str, runs: dict[str, RunRanks], reference: str, evaluate: EvaluateConfig, metrics: Sequence[str]
) -> list[Summary]:
    values = {name: _values(run, metrics) for name, run in runs.items()}
    per_user = {name: value.mean(axis=0) for name, value in values.items()}  # [U, M]
    rows: dict[tuple[int, str], Summary] = {}
    for name, run in track(runs.items(), f"{dataset}: intervals and tests", unit="run"):
        per_seed = values[name].mean(axis=1)  # [S, M]
        std = per_seed.std(axis=0, ddof=1) if len(per_seed) > 1 else None
        low, high = bootstrap_interval(per_user[name], resamples=evaluate.bootstrap, level=evaluate.level)
        p_values = None if name == reference else paired_test(per_user[reference] - per_user[name])
        for index, metric in enumerate(metrics):
            rows[index, name] = Summary(
                dataset=dataset,
                metric=metric,
                run=name,
                mean=float(per_seed[:, index].mean()),
                std=None if std is None else float(std[index]),
                seeds=len(run.seeds),
                ci_low=float(low[index]),
                ci_high=float(high[index]),
                p_value=None if p_values is None else float(p_values[index]),
                users=run.ranks.shape[1],
            )
    return [rows[index, name] for index in range(len(metrics)) for name in runs]


def summarise(
    ranks: Sequence[Path],
    runs: Sequence[str],
    reference: str,
    evaluate: EvaluateConfig,
    metrics: Sequence[str] = METRICS,
) -> list[Summary]:
    """Summaries of ``runs`` on every data set that ``ranks`` holds, in the order data set, metric, run.

    Raises:
        DecorecError: ``reference`` is not one of ``runs``, or the files do not fit together (see ``read_runs``).
    """
    if reference not in runs:
        raise DecorecError(
            f"reference {reference!r}: expected one of the runs of the table ({', '.join(runs)}); "
            "correct tables.reference or add the run"
        )
    rows = []
    for dataset, group in read_runs(ranks, runs).items():
        rows += _summarise_dataset(dataset, group, reference, evaluate, metrics)
    return rows
