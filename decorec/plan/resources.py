"""What a job asks a scheduler for: amounts of a rule, by the size of its input and the number of the attempt.

Where the amounts in the rules come from is in docs/how-to/cluster.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["memory", "runtime"]


def memory(
    least: float, per_input: float = 0, processes: Callable[[Any], int] = lambda wildcards: 1
) -> Callable[..., str]:
    """The resource ``mem`` of a rule; as much again for each new attempt.

    Args:
        least: GB, whatever the data are.
        per_input: GB for each GB of the input files.
        processes: how many processes a job has, each of which takes this much.
    """

    def amount(wildcards: Any, attempt: int, size: float = 0) -> str:
        return f"{round(1e3 * attempt * processes(wildcards) * (least + per_input * size / 1e9))}MB"

    # Snakemake gives a function the arguments that it names, and does not know an input's size before a run.
    if not per_input:
        return lambda wildcards, attempt: amount(wildcards, attempt)

    def by_size(wildcards: Any, input: Any, attempt: int) -> str:
        return amount(wildcards, attempt, input.size)

    return by_size


def runtime(hours: float) -> Callable[[Any, int], int]:
    """The resource ``runtime`` of a rule, in minutes: so many hours, and as many again for each new attempt."""
    return lambda wildcards, attempt: round(60 * hours * attempt)
