"""What a job asks a scheduler for: amounts of a rule, by the size of its input and the number of the attempt.

Where the amounts in the rules come from is in docs/how-to/cluster.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["memory", "memory_of_rows", "over_nodes", "runtime"]

LIBRARIES = 0.7
"""GB of a step that makes a table or a page, whatever the data are, with torch."""
HELD = 5
"""GB for each GB of all input files of such a step: what it keeps of them until it ends."""
READ = 16
"""GB for each GB of the largest table (parquet) among them: while one is read, its rows stand in memory unpacked."""


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


def memory_of_rows(least: float) -> Callable[[Any, Any, int], str]:
    """The resource ``mem`` of a rule that makes a table or a page from the rows of many files; as ``memory``.

    Args:
        least: GB; more only where the rows take more.
    """

    def amount(wildcards: Any, input: Any, attempt: int) -> str:
        sizes = input.size_files
        tables = [size for file, size in zip(input, sizes, strict=True) if file.endswith(".parquet")]
        rows = LIBRARIES + HELD * sum(sizes) / 1e9 + READ * max(tables, default=0) / 1e9
        return f"{round(1e3 * attempt * max(least, rows))}MB"

    return amount


def runtime(hours: float) -> Callable[[Any, int], int]:
    """The resource ``runtime`` of a rule, in minutes: so many hours, and as many again for each new attempt."""
    return lambda wildcards, attempt: round(60 * hours * attempt)


def over_nodes(nodes: Callable[[Any], int], value: str | None = None) -> Callable[[Any], int | str | None]:
    """A resource that a job on several nodes has, and others have not.

    Args:
        nodes: number of nodes of a job.
        value: of the resource; None: the number of nodes.
    """

    def amount(wildcards: Any) -> int | str | None:
        count = nodes(wildcards)
        return None if count == 1 else count if value is None else value

    return amount
