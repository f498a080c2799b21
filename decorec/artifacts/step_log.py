"""results/log.jsonl: one line of JSON per finished step, whoever ran it.

It is a log and no artifact: no rule reads it, no seal names it, and a step never fails because of it. A line is written
at once, by one process at a time. A process that is killed while it writes can leave a part of a line; the next one
begins on a line of its own, and the reader leaves the part out and counts it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from decorec.artifacts import layout
from decorec.artifacts.seal import Provenance

__all__ = ["Entry", "append", "read"]

Outcome = Literal["done", "failed", "stopped"]
LONGEST = 1_000
"""Letters of a message, so that a line is short."""
log = logging.getLogger("decorec")


@dataclass
class Entry:
    """A step that runs in this process, from its start on."""

    step: str
    outputs: list[Path] = field(default_factory=list)
    """What it was asked to write."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""
    known: Provenance = field(default_factory=Provenance)
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.start

    def write(self, outcome: Outcome, message: str = "") -> None:
        """Append its line to the log of the results that it writes to; a step that writes elsewhere has none."""
        for path in (*self.outputs, *self.known.written):
            root = layout.results_of(path) if layout.place_of(path) else None
            if root is not None and (file := root[0] / layout.STEP_LOG).parent.is_dir():
                with suppress(OSError):  # the disk is full or read-only: the step itself says so
                    append(file, self._line(path, outcome, message))
                return

    def _line(self, place: Path, outcome: Outcome, message: str) -> dict[str, Any]:
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        processor = sum(used.ru_utime + used.ru_stime for used in (own, children))
        arguments = {name: str(self.values[name]) for name in ("seed", "stage") if self.values.get(name) is not None}
        where = arguments | layout.described(place)
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": self.step,
            **{name: where.get(name, "") for name in ("dataset", "run", "seed", "stage")},
            "output": layout.path_of(layout.place_of(place)),
            "seconds": round(self.seconds, 3),
            "processor_seconds": round(processor, 3),
            "peak_memory_mb": round(max(own.ru_maxrss, children.ru_maxrss) / 1024),
            "rows_in": dict(self.known.rows_in),
            "rows_out": dict(self.known.rows_out),
            "outcome": outcome,
        }
        return line | ({"message": message[:LONGEST]} if message else {})


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
