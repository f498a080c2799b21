"""What a step took, as it measures itself: results/log.jsonl, and the file of the job that ran it.

results/log.jsonl has one line of JSON per finished step, whoever ran it. It is a log and no artifact: no rule reads it,
no seal names it, and a step never fails because of it. A line is written at once, by one process at a time. A process
that is killed while it writes can leave a part of a line; the next one begins on a line of its own, and the reader
leaves the part out and counts it.

A job of the workflow has a file of its own beside it, ``layout.benchmark``, for the tables of costs and for estimates:
the columns s, cpu_time and max_rss of Snakemake's benchmarks, which look at a job every half a minute and miss what
comes after the last look. A line counts one start of a step. The file of a job counts its earlier starts as well, where
it went on from a state that they kept: up to that state, since what came after it was done again.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from decorec.artifacts import layout
from decorec.artifacts.seal import Provenance

__all__ = [
    "Entry",
    "Used",
    "append",
    "begun",
    "count_ended",
    "current",
    "descendants",
    "largest_memory",
    "processor_seconds",
    "read",
]

Outcome = Literal["done", "failed", "stopped"]
LONGEST = 1_000
"""Letters of a message, so that a line is short."""
TICK = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second."""
_ended = [0.0]
"""Memory of groups of processes that have ended, in MB."""
_elsewhere = [0.0]
"""Processor seconds of processes on other machines."""
_STEP: ContextVar[Entry | None] = ContextVar("entry", default=None)


@dataclass(frozen=True)
class Used:
    """What this process and the processes that it started have taken."""

    seconds: float = 0.0
    """By the clock, since the start of the step."""
    processor_seconds: float = 0.0
    """Since the start of the processes."""
    memory: float = 0.0
    """In MB: the peak of this process and of those that still run, summed; that of an ended one if it is larger."""

    @classmethod
    def so_far(cls, start: float) -> Used:
        """Up to now, for a step that started at ``start`` (``time.monotonic``)."""
        own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        living = list(descendants(os.getpid()))
        return cls(
            seconds=time.monotonic() - start,
            processor_seconds=sum(used.ru_utime + used.ru_stime for used in (own, ended))
            + sum(map(processor_seconds, living))
            + sum(_elsewhere),
            memory=max(sum(map(largest_memory, [os.getpid(), *living])), ended.ru_maxrss, 1024 * max(_ended)) / 1024,
        )

    def __add__(self, later: Used) -> Used:
        """One after the other."""
        return Used(
            self.seconds + later.seconds,
            self.processor_seconds + later.processor_seconds,
            max(self.memory, later.memory),
        )

    def write(self, file: Path) -> None:
        """As the one row of a table, which is complete or not there."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        values = f"{self.seconds:.3f}\t{self.memory:.2f}\t{self.processor_seconds:.3f}"
        part.write_text(f"s\tmax_rss\tcpu_time\n{values}\n", encoding="utf-8")
        part.replace(file)


@dataclass
class Entry:
    """A step that runs in this process, from its start on."""

    step: str
    outputs: list[Path] = field(default_factory=list)
    """What it was asked to write."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""
    known: Provenance = field(default_factory=Provenance)
    log: Path | None = None
    """The log of the job that runs it: it names the job."""
    start: float = field(default_factory=time.monotonic)
    earlier: Used = field(default_factory=Used)
    """What its earlier starts took until they kept the state from which it went on."""

    def continues(self, earlier: Used) -> None:
        """Note what earlier starts took until they kept a state; of several states, the latest counts all."""
        self.earlier = max(self.earlier, earlier, key=lambda used: used.seconds)

    def used(self) -> Used:
        """What it has taken until now, with its earlier starts."""
        return self.earlier + Used.so_far(self.start)

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.start

    def write(self, outcome: Outcome, message: str = "") -> None:
        """Append its line to the log of the results that it writes to; a step that writes elsewhere has none.

        If it is done and a job ran it, write what it took to the file of the job as well.
        """
        used = Used.so_far(self.start)
        if outcome == "done" and self.log is not None and (job := layout.job_of(self.log)) is not None:
            with suppress(OSError):
                (self.earlier + used).write(Path(layout.benchmark(job)))
        for path in (*self.outputs, *self.known.written):
            root = layout.results_of(path) if layout.place_of(path) else None
            if root is not None and (file := root[0] / layout.STEP_LOG).parent.is_dir():
                with suppress(OSError):  # the disk is full or read-only: the step itself says so
                    append(file, self._line(path, used, outcome, message))
                return

    def _line(self, place: Path, used: Used, outcome: Outcome, message: str) -> dict[str, Any]:
        arguments = {name: str(self.values[name]) for name in ("seed", "stage") if self.values.get(name) is not None}
        where = arguments | layout.described(place)
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": self.step,
            **{name: where.get(name, "") for name in ("dataset", "run", "seed", "stage")},
            "output": layout.path_of(layout.place_of(place)),
            "seconds": round(used.seconds, 3),
            "processor_seconds": round(used.processor_seconds, 3),
            "peak_memory_mb": round(used.memory),
            "rows_in": dict(self.known.rows_in),
            "rows_out": dict(self.known.rows_out),
            "outcome": outcome,
        }
        return line | ({"message": message[:LONGEST]} if message else {})


def begun(step: str) -> Entry:
    """The entry of a step that begins now, for whoever asks for the current one."""
    _STEP.set(entry := Entry(step))
    return entry


def current() -> Entry:
    """The entry of the step that runs here; of a step that is called as a function, one that nobody writes."""
    return _STEP.get() or begun("")


def count_ended(memory: float, processor_seconds: float = 0.0) -> None:
    """Note what processes took of which the system tells not enough.

    Args:
        memory: the largest, in MB, of those that ran at the same time: the system tells only of each.
        processor_seconds: of those on other machines.
    """
    _ended.append(memory)
    _elsewhere.append(processor_seconds)


def descendants(process: int) -> Iterable[int]:
    """Processes that ``process`` started and that still run, and theirs; none where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            parents.setdefault(int(_stat(entry)[1]), []).append(int(entry.parent.name))
    waiting = [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        yield from children
        waiting += children


def _stat(file: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on; the second is a name in parentheses."""
    return file.read_text().rpartition(")")[2].split()


def processor_seconds(process: int) -> float:
    """Of a process and of those that it has waited for (fields 14 to 17); 0 if it has ended."""
    with suppress(OSError, ValueError):
        return sum(map(int, _stat(Path(f"/proc/{process}/stat"))[11:15])) / TICK
    return 0.0


def largest_memory(process: int) -> int:
    """Largest resident memory of a process, in KB; 0 if it has ended.

    The system's account of what a process has used (getrusage) would not do: where a program is started by a larger
    process, it begins with the memory of that one.
    """
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Append one line, also while other processes do."""
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):  # a file system without flock: one write is nearly always whole there
            fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, b"\n" * cut + json.dumps(line, ensure_ascii=False).encode() + b"\n")
    finally:
        os.close(handle)


def read(file: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a log, oldest first, and the number of those that are cut off or damaged; ([], 0) without a file."""
    lines: list[dict[str, Any]] = []
    damaged = 0
    for text in _lines(file):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and {"time", "step", "outcome"} <= line.keys():
            lines.append(line)
        else:
            damaged += 1
    return lines, damaged


def _lines(file: Path) -> Iterable[bytes]:
    try:
        return file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
