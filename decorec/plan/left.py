"""How long the rest of a call takes: the expected costs of its jobs, corrected by what those that are done took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from decorec.plan.call import Call
from decorec.plan.costs import Cost
from decorec.plan.estimate import clock, duration
from decorec.plan.jobs import Job

__all__ = ["in_words", "left"]


def left(call: Call, costs: Mapping[str, Cost], now: float | None = None) -> tuple[float, int]:
    """Seconds by the clock until the jobs of a call that wait or run are done, and how many of them are not known.

    What a job takes beyond what was expected, jobs of the same run and stage take too, else those of the same step,
    else all.

    Args:
        call: with the states of its jobs.
        costs: name -> expected cost; jobs without one do not count.
        now: seconds since the epoch.
    """
    now = time.time() if now is None else now
    factors = _factors(call, costs)
    waiting, unknown = [], 0
    for job in call.of("running") + call.of("waiting"):
        if (cost := costs.get(job.name)) is None:
            unknown += 1
            continue
        factor = next(factors[kind] for kind in _kinds(job) if kind in factors)
        spent = now - call.states[job.name].since if call.states[job.name].kind == "running" else 0.0
        processor, by_clock = (max(0.0, factor * seconds - spent) for seconds in (cost.processor, cost.clock))
        waiting.append((job, replace(cost, processor=processor, clock=by_clock)))
    return clock(waiting, call.cores), unknown


def in_words(call: Call, costs: Mapping[str, Cost]) -> str:
    """The same as one says it."""
    seconds, unknown = left(call, costs)
    if unknown and not seconds:
        return f"of {unknown} jobs it is not known yet how long they take"
    more = f", and {unknown} jobs of which it is not known yet" if unknown else ""
    return f"about {duration(seconds)} left with {call.cores} core{'s' * (call.cores > 1)}{more}"


def _kinds(job: Job) -> list[tuple[str, ...]]:
    """What a job is like, the closest first."""
    return [(job.step, job.run, job.value("stage")), (job.step,), ()]


def _factors(call: Call, costs: Mapping[str, Cost]) -> dict[tuple[str, ...], float]:
    """Kind of jobs -> seconds that those which are done took by the clock, for one that was expected."""
    took: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for job in call.of("done"):
        state, cost = call.states[job.name], costs.get(job.name)
        if cost is not None and cost.clock > 0 and state.seconds > 0:
            for kind in _kinds(job):
                took[kind][0] += state.seconds
                took[kind][1] += cost.clock
    return {(): 1.0} | {kind: real / planned for kind, (real, planned) in took.items()}
