"""The lines about all jobs together that a call shows: how many are done, the time that has passed and is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from decorec.plan.call import Call
from decorec.plan.costs import Cost
from decorec.plan.estimate import duration, expected
from decorec.plan.jobs import Job
from decorec.plan.left import in_words

__all__ = ["Teller"]

BETWEEN = 5.0
"""Least number of seconds between two lines."""
NAMED = 3
"""Running jobs that are named."""
SIZES = ("ingest", "split", "atomic")
"""Steps after which the size of a data set is known, or known better."""


class Teller:
    """Says where a call stands, after jobs that are done."""

    def __init__(self, say: Callable[[str], object], between: float = BETWEEN) -> None:
        """``say``: prints a line; ``between``: seconds that pass at least before the next one."""
        self.say, self.between = say, between
        self._costs: dict[str, Cost] | None = None
        self._told, self._last, self._sized = 0, -between, 0

    def __call__(self, call: Call) -> None:
        """Say a line if jobs have ended since the last one, and that is long enough ago or these are all."""
        ended = len(call.of("done")) + len(call.of("failed"))
        if ended == self._told or (time.monotonic() - self._last < self.between and not call.over):
            return
        self._told, self._last = ended, time.monotonic()
        self.say(self._line(call))

    def _line(self, call: Call) -> str:
        done, failed, unneeded = (len(call.of(kind)) for kind in ("done", "failed", "unneeded"))
        words = f"{done} of {len(call.jobs) - unneeded} jobs done" + (f", {failed} failed" if failed else "")
        words += f", {duration(time.time() - call.start)} passed"
        if call.of("waiting") or call.of("running"):
            words += f", {in_words(call, self._known(call))}"
        if running := call.of("running"):
            others = f" and {len(running) - NAMED} more" if len(running) > NAMED else ""
            words += f"; now {', '.join(map(_named, running[:NAMED]))}{others}"
        return f"decorec: {words}"

    def _known(self, call: Call) -> dict[str, Cost]:
        """The expected costs, asked for again when a size has become known."""
        sized = sum(job.step in SIZES for job in call.of("done"))
        if self._costs is None or sized != self._sized:
            self._costs, self._sized = expected(call.jobs), sized
        return self._costs


def _named(job: Job) -> str:
    return f"{job.step} {job.name}"
