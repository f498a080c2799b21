"""One row per data set, history, metric and run: mean and spread over seeds, interval over users, paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.significance import BLOCK, MANY, bootstrap_interval, interval_over_seeds, paired_test
from decorec.progress import track
from decorec.tables.collect import Block, RunRanks, read_runs

__all__ = [
    "Effect",
    "Summary",
    "compare",
    "compare_runs",
    "paper_compatible",
    "per_seed",
    "per_user",
    "summarise",
    "summarise_block",
]


@dataclass(frozen=True)
class Summary:
    """One metric of one run in one block."""

    block: Block
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


@dataclass(frozen=True)
class Effect:
    """Difference of two runs on the same users, in one metric."""

    difference: float
    """Mean over users of the difference of the means over seeds."""
    low: float
    high: float
    """Bootstrap interval of that difference."""
    p_value: float
    """Paired test whether the difference is zero."""


def compare(differences: npt.NDArray[np.float64], evaluate: EvaluateConfig) -> list[Effect]:
    """One effect per column of ``differences`` [U, M], the difference of two runs per user."""
    return _effects(differences, bootstrap_interval(differences, resamples=evaluate.bootstrap, level=evaluate.level))


def compare_runs(one: RunRanks, other: RunRanks, evaluate: EvaluateConfig) -> list[Effect]:
    """One effect per reported metric, of ``one`` minus ``other``; the intervals are over users and each run's seeds."""
    effects = []
    for metrics in _at_once(REPORTED, one.users):
        values = per_seed(one, metrics), per_seed(other, metrics)
        interval = interval_over_seeds(*values, resamples=evaluate.bootstrap, level=evaluate.level)
        effects += _effects(values[0].mean(axis=0) - values[1].mean(axis=0), interval)
    return effects


def _at_once(metrics: Sequence[str], users: int) -> list[Sequence[str]]:
    """All metrics; of many users one after another, so that memory holds the values of one."""
    return [metrics] if users <= MANY else [(metric,) for metric in metrics]


def _effects(
    differences: npt.NDArray[np.float64], interval: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
) -> list[Effect]:
    columns = (differences.mean(axis=0), *interval, paired_test(differences))
    return [Effect(*map(float, column)) for column in zip(*columns, strict=True)]


def per_user(run: RunRanks, metrics: Sequence[str] = REPORTED) -> npt.NDArray[np.float64]:
    """[U, M] value of each metric per user, the mean over seeds."""
    return np.stack([per_seed(run, (metric,))[..., 0].mean(axis=0) for metric in metrics], axis=-1)


def paper_compatible(metric: str) -> str:
    """The metric that the paper most likely computed under the name ``metric``: its cut-offs are one too large."""
    exact = parse_metric(metric)
    return f"{exact.name}@{exact.cutoff + 1}"


def per_seed(run: RunRanks, metrics: Sequence[str] = REPORTED) -> npt.NDArray[np.float64]:
    """[S, U, M] value of each metric per seed and user."""
    values = np.empty((*run.ranks.higher.shape, len(metrics)))
    for column, metric in enumerate(map(parse_metric, metrics)):
        for seed, start in product(range(len(values)), range(0, run.users, BLOCK)):
            part = slice(start, start + BLOCK)
            values[seed, part, column] = metric(run.ranks[seed, part])
    return values


def summarise_block(
    block: Block,
    runs: dict[str, RunRanks],
    reference: str | None,
    evaluate: EvaluateConfig,
    metrics: Sequence[str] = REPORTED,
) -> list[Summary]:
    """Summaries of ``runs`` in one block, in the order metric, run; without a reference there are no tests."""
    rows: dict[tuple[str, str], Summary] = {}
    for part in _at_once(metrics, next(iter(runs.values())).users):
        compared = None if reference is None else per_user(runs[reference], part)
        for name, run in track(runs.items(), f"{block.title()}: intervals and tests", unit="run"):
            values = per_seed(run, part)
            repeated, means = values.mean(axis=1), values.mean(axis=0)  # [S, M], [U, M]
            std = repeated.std(axis=0, ddof=1) if len(repeated) > 1 else None
            low, high = bootstrap_interval(means, resamples=evaluate.bootstrap, level=evaluate.level)
            p_values = None
            if compared is not None and reference != name:
                p_values = paired_test(compared - means)
            for index, metric in enumerate(part):
                rows[metric, name] = Summary(
                    block=block,
                    metric=metric,
                    run=name,
                    mean=float(repeated[:, index].mean()),
                    std=None if std is None else float(std[index]),
                    seeds=len(run.seeds),
                    ci_low=float(low[index]),
                    ci_high=float(high[index]),
                    p_value=None if p_values is None else float(p_values[index]),
                    users=run.users,
                )
    return [rows[metric, name] for metric in metrics for name in runs]


def summarise(
    ranks: Sequence[Path],
    runs: Sequence[str],
    reference: str,
    evaluate: EvaluateConfig,
    metrics: Sequence[str] = REPORTED,
) -> list[Summary]:
    """Summaries of ``runs`` on every data set in ``ranks``, in the order data set, history, metric, run.

    Raises:
        DecorecError: ``reference`` is not one of ``runs``, or the files do not fit together (see ``read_runs``).
    """
    if reference not in runs:
        raise DecorecError(
            f"reference {reference!r}: expected one of the runs of the table ({', '.join(runs)}); "
            "correct tables.reference or add the run"
        )
    rows = []
    for block, group in read_runs(ranks, runs).items():
        rows += summarise_block(block, group, reference, evaluate, metrics)
    return rows
