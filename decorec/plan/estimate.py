"""Command estimate: how many jobs a call of Snakemake would run, how long they take, and how much memory."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from decorec.artifacts import layout
from decorec.plan.costs import (
    COMPUTER,
    EARLIER,
    MEASURED,
    TABLE,
    Cost,
    Costs,
    Epoch,
    Size,
    keep_epochs,
    kept_epochs,
    size_of,
    stages_of,
    values_of,
)
from decorec.plan.jobs import Job, planned
from decorec.processor import pin

__all__ = ["clock", "duration", "estimate", "expected", "forecast"]

log = logging.getLogger("decorec")
PHASES = (("acquire", "features", "prepare"), ("training", "evaluation"), ("recommend", "tables", "figures", "report"))
"""Phases of steps; what is in one entry waits for all of the entry before."""
ORIGINS = {
    EARLIER: "earlier jobs with the same names (results/benchmarks)",
    MEASURED: "epochs measured on the data set",
    TABLE: f"measured values per unit of size ({COMPUTER}): within a factor of three, or more on another computer",
}


def estimate(
    *,
    targets: list[str] | None = None,
    configfile: list[Path] | None = None,
    cores: int | None = None,
    measure: bool = True,
) -> None:
    """Say what `snakemake TARGETS --configfile ...` would cost in the working directory; nothing is made.

    Jobs that are done do not count. An epoch of each training of which no seed is finished is measured, where its input
    files are there, and kept for later estimates.

    Args:
        targets: files to make; by default the main table.
        configfile: files to lay over config.yaml, as behind Snakemake's --configfile.
        cores: number of cores; by default all of this computer.
        measure: measure epochs; without it only what is known already is used.

    Raises:
        DecorecError: Snakemake refuses the configuration or the targets, or an epoch cannot be measured.
    """
    jobs = planned(targets or [layout.fill(layout.TABLE, table="main")], configfile or [])
    sizes = _sizes(jobs)
    if measure:
        _measure(jobs, sizes)
    print(forecast(jobs, cores or len(os.sched_getaffinity(0)), detailed=True))


def forecast(jobs: Sequence[Job], cores: int, detailed: bool = False) -> str:
    """What jobs will cost on a number of cores, in words; from what is known in the working directory.

    Args:
        jobs: those that have to run.
        cores: those that they may use together.
        detailed: with a line for each training.
    """
    if not jobs:
        return "Nothing to do: everything is there."
    sizes, costs = _sizes(jobs), expected(jobs)
    known = [(job, costs[job.name]) for job in jobs if job.name in costs]
    lines = [_counts(jobs)]
    lines += [f"{name}: {size} ({size.source})" for name, size in sizes.items() if size is not None]
    if detailed:
        lines += _trainings(known)
    lines += _total(known, cores, len(jobs) - len(known))
    lines += _missing(jobs, sizes)
    return "\n".join(lines)


def expected(jobs: Sequence[Job]) -> dict[str, Cost]:
    """Name -> cost of those jobs whose cost is known, from what is known in the working directory."""
    sizes = _sizes(jobs)
    epochs = {key: epoch for dataset, size in sizes.items() for key, epoch in kept_epochs(dataset, size).items()}
    costs = Costs({name: size for name, size in sizes.items() if size is not None}, epochs)
    return {job.name: cost for job in jobs if (cost := costs.of(job)) is not None}


def _sizes(jobs: Sequence[Job]) -> dict[str, Size | None]:
    datasets = dict.fromkeys(job.dataset for job in jobs if job.dataset)
    return {dataset: size_of(dataset, list(jobs)) for dataset in datasets}


def _measure(jobs: Sequence[Job], sizes: Mapping[str, Size | None]) -> None:
    """Measure an epoch of each training that no finished one tells of, and keep it."""
    for dataset, size in sizes.items():
        if size is None:
            continue
        epochs = kept_epochs(dataset, size)
        costs = Costs({dataset: size}, epochs)
        wanted = {}
        for job in jobs:
            for run, stage in stages_of(job) if job.dataset == dataset else ():
                cost = costs.stage(job, run, stage)
                if cost is not None and cost.source == TABLE and _inputs(job):
                    wanted[values_of(run, stage)] = (job, run, stage)
        if not wanted:
            continue
        if any("reproducible" in job.values for job, _, _ in wanted.values()):
            pin()
        from decorec.training.epoch_cost import Training, costs_of_epochs

        trainings = [
            Training(
                run=run,
                stage=stage,
                vocab=Path(job.value("vocab")),
                sequences=Path(job.value("sequences")),
                features=job.paths("features"),
                interests=job.paths("interests"),
                cooccurrence=next(iter(job.paths("cooccurrence")), None),
            )
            for job, run, stage in wanted.values()
        ]
        log.info("%s: measuring an epoch of %d trainings", dataset, len(trainings))
        for values, found in zip(wanted, costs_of_epochs(trainings), strict=True):
            epochs[dataset, values] = Epoch(found.start, found.epoch, found.memory)
            job, run, stage = wanted[values]
            log.info("%s: %s %s: %.2f s of processor time an epoch", dataset, job.run, stage, found.epoch)
            keep_epochs(dataset, size, epochs)


def _inputs(job: Job) -> bool:
    """Whether the files that a training reads are there, but for the stage before."""
    flags = ("vocab", "sequences", "features", "interests", "cooccurrence")
    return all(path.is_file() for flag in flags for path in job.paths(flag))


def _counts(jobs: Sequence[Job]) -> str:
    steps = Counter(job.step for job in jobs)
    return (
        f"{len(jobs)} job{'s' * (len(jobs) > 1)}: {', '.join(f'{count} {step}' for step, count in steps.most_common())}"
    )


def _trainings(known: Sequence[tuple[Job, Cost]]) -> list[str]:
    """One line for each stage of a run on a data set."""
    trained = [(job, cost) for job, cost in known if cost.epochs]
    key = lambda entry: (entry[0].dataset, entry[0].run, entry[0].value("stage", entry[0].step))  # noqa: E731
    lines = []
    for (dataset, run, stage), entries in groupby(sorted(trained, key=key), key=key):
        costs = [cost for _, cost in entries]
        one = costs[0]
        lines.append(
            f"  {dataset} {run} {stage}: {len(costs)} x {one.epochs} epochs of {one.epoch:.2f} s, "
            f"{one.memory / 1e3:.1f} GB ({one.source})"
        )
    return lines


def _total(known: Sequence[tuple[Job, Cost]], cores: int, unknown: int) -> list[str]:
    if not known:
        return []
    processor, seconds = sum(cost.processor for _, cost in known), clock(known, cores)
    memory = sum(sorted((cost.memory for _, cost in known), reverse=True)[:cores])
    counted = f"{len(known)} of the jobs" if unknown else "In all"
    number = f"{cores} cores" if cores > 1 else "1 core"
    sources = [text for source, text in ORIGINS.items() if any(cost.source == source for _, cost in known)]
    epochs = [
        "Number of epochs: as the finished trainings of the same run, else as the model took on measured data sets."
    ] * any(cost.epochs for _, cost in known)
    return [
        f"{counted}: {duration(processor)} of processor time, about {duration(seconds)} by the clock with {number}, "
        f"up to {memory / 1e3:.1f} GB of memory",
        f"Computed from {'; '.join(sources)}.",
        *epochs,
    ]


def clock(known: Sequence[tuple[Job, Cost]], cores: int) -> float:
    """Seconds by the clock of jobs that may use a number of cores together."""
    return sum(_clock([entry for entry in known if entry[0].phase in phases], cores) for phases in PHASES)


def _clock(known: Sequence[tuple[Job, Cost]], cores: int) -> float:
    """Seconds by the clock of some phases: all cores are busy, or the longest chain of jobs is waited for."""
    chains: dict[tuple[str, ...], float] = defaultdict(float)
    for job, cost in known:
        chains[(job.dataset, job.run, job.seed) if job.dataset else (job.name,)] += cost.clock
    return max(sum(cost.processor for _, cost in known) / cores, *chains.values(), 0.0) if known else 0.0


def _missing(jobs: Sequence[Job], sizes: Mapping[str, Size | None]) -> list[str]:
    """What has to be made before the rest can be said."""
    unknown = sorted(dataset for dataset, size in sizes.items() if size is None)
    if not unknown:
        return []
    waiting = [job for job in jobs if job.dataset in unknown]
    trainings = sum(job.step == "train" for job in waiting)
    files = " ".join(layout.fill(layout.STATISTICS, dataset=dataset) for dataset in unknown)
    return [
        f"{', '.join(unknown)}: size not known yet, so that the time of {len(waiting)} jobs ({trainings} of them "
        f"trainings) cannot be said. Make {files} first, with the same --configfile; then repeat the estimate"
    ]


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
