"""What a command, or a call, costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cost", "cost_of_call", "cost_of_command"]


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of processor time, and most bytes of memory (0: not measured)."""

    clock: float
    processor: float
    memory: float = 0.0

    def line(self, label: str) -> str:
        """One line of a report."""
        memory = f" {self.memory / 1e9:6.2f} GB" if self.memory else ""
        return f"{label:<24} {self.clock:8.2f} s {self.processor:8.2f} s of processor time{memory}"


STARTER = """
import contextlib, ctypes, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what the command leaves behind becomes a child
start = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
clock = time.perf_counter() - start
with contextlib.suppress(ChildProcessError):
    while True:
        os.wait()
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(clock, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
sys.exit(status)
"""


def cost_of_command(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Cost:
    """Run a command as a process of its own, all of whose processes count; a failure ends the benchmark.

    A small process starts it, because a process counts the memory of the one that it comes from as its own. The memory
    is that of the largest process.
    """
    done = subprocess.run(
        [sys.executable, "-c", STARTER, *command],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        sys.exit(f"{command[:4]} failed with status {done.returncode}:\n{done.stderr[-4000:]}")
    return Cost(*map(float, done.stdout.split()))


def cost_of_call(function: Callable[[], Any]) -> Cost:
    """Call a function of this process; what it returns is freed later."""
    processor, clock = time.process_time(), time.perf_counter()
    result = function()
    cost = Cost(time.perf_counter() - clock, time.process_time() - processor)
    del result
    return cost
