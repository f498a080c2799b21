"""What a call of Snakemake has to run and has run so far, in a file that is written while it happens.

The file (``FILE``) has one line of JSON for the call and one for every change: jobs started, a job finished or failed,
the end. So it tells the same while the call runs, after it, and after a kill. The events come from Snakemake's own log
records, whatever executes the jobs. They are handled in a thread of their own: nothing here delays or ends a run.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Literal

from decorec.plan.jobs import Job, jobs_of
from decorec.plan.running import VARIABLE, Run

__all__ = ["Call", "State", "Watcher"]

FILE = "call.jsonl"
"""In the folder .snakemake."""
CLOSING = 5.0
"""Seconds that the last events have at the end of a run."""
SETTLED = 2.0
"""Seconds between an event and what is told of it: until then Snakemake has started the next jobs."""
Kind = Literal["waiting", "running", "done", "failed", "unneeded"]
"""unneeded: it was planned, and a job before it has left its inputs as they were."""


@dataclass
class State:
    """Where a job stands."""

    kind: Kind = "waiting"
    since: float = 0.0
    """When it came there, in seconds since the epoch."""
    seconds: float = 0.0
    """What a job that is done took by the clock."""


@dataclass
class Call:
    """A call of Snakemake."""

    run: Run
    cores: int
    start: float
    """In seconds since the epoch, as all times here."""
    commands: list[str]
    """Of the jobs that it has to run."""
    end: float | None = None
    jobs: list[Job] = field(init=False)
    states: dict[str, State] = field(init=False)
    """Name of a job -> where it stands."""

    def __post_init__(self) -> None:
        self.jobs = jobs_of(self.commands)
        self.states = {job.name: State() for job in self.jobs}

    @classmethod
    def this(cls, commands: Iterable[str], cores: int) -> Call:
        """The call that this process makes."""
        run = replace(Run.this(), id=os.environ.get(VARIABLE, ""))
        return cls(run, cores, time.time(), list(commands))

    @classmethod
    def read(cls, folder: Path) -> Call | None:
        """The last call whose record lies in ``folder`` (.snakemake); None if there is none that can be read."""
        try:
            first, *events = (folder / FILE).read_bytes().splitlines()
            call = cls(**{**(values := json.loads(first)), "run": Run(**values["run"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        for line in events:
            try:
                call.note(json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue  # the kill came in the middle of a write
        return call

    def dump(self) -> dict[str, Any]:
        """The first line of its record."""
        return {"run": asdict(self.run), "cores": self.cores, "start": self.start, "commands": self.commands}

    def note(self, event: Mapping[str, Any]) -> None:
        """Bring the states up to date with a line of the record: ``{"time": ..., "done": [names]}`` or alike."""
        now = float(event["time"])
        if "end" in event:
            self.end = now
        kinds: tuple[Kind, ...] = ("running", "done", "failed", "unneeded")
        for kind in kinds:
            for name in event.get(kind, ()):
                before = self.states[name]
                took = now - before.since if kind == "done" and before.kind == "running" else 0.0
                self.states[name] = State(kind, now, took)

    @property
    def over(self) -> bool:
        """Whether nothing more happens: it has ended, or all of its jobs have."""
        return self.end is not None or not (self.of("waiting") or self.of("running"))

    def of(self, kind: Kind) -> list[Job]:
        """The jobs in a state."""
        return [job for job in self.jobs if self.states[job.name].kind == kind]


class Watcher(logging.Handler):
    """Reads Snakemake's log records, keeps the record of a call, and tells of changes."""

    def __init__(
        self,
        folder: Path,
        call: Call,
        names: Mapping[int, str],
        complain: Callable[[str], object],
        tell: Callable[[Call], object] = lambda call: None,
        needed: Callable[[], Iterable[int]] | None = None,
    ) -> None:
        """Begin to write the record.

        Args:
            folder: .snakemake.
            call: what has to run.
            names: Snakemake's number of a job -> its name.
            complain: prints a warning.
            tell: called after changes.
            needed: the numbers of all jobs that have run or have to, which may become fewer while it runs; None: all.
        """
        super().__init__(logging.INFO)
        self.folder, self.call, self.names, self.complain, self.tell = folder, call, names, complain, tell
        self.needed, self.left, self.total = needed, dict(names), -1
        """``left``: as ``names``, without jobs that are unneeded; ``total``: as Snakemake said it last."""
        self.queue: SimpleQueue[logging.LogRecord | dict[str, Any]] = SimpleQueue()
        """Records of events, and events."""
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; the thread finds out what it says."""
        if self.thread.is_alive():
            self.queue.put(record)
            total = record.__dict__.get("total")  # of the event progress: fewer jobs, if some need not run any more
            if total not in (None, self.total):
                self.total = total
                self._queue_unneeded()

    def close(self) -> None:
        """Note the end of the run; what is queued is written first."""
        if self.thread.is_alive():
            self._queue_unneeded()
            self.queue.put({"time": time.time(), "end": True})
            self.thread.join(CLOSING)
        super().close()

    def _work(self) -> None:
        try:
            with (self.folder / FILE).open("w", encoding="utf-8") as file:
                self._write(file, self.call.dump())
                while self.call.end is None:
                    self._take(file, None)
                    until = time.monotonic() + SETTLED
                    with suppress(Empty):
                        while not self.call.over and (rest := until - time.monotonic()) > 0:
                            self._take(file, rest)
                    self.tell(self.call)
        except Exception as error:  # whatever it is: the run is not to know of it
            self.complain(f"decorec: what runs is not recorded any more ({type(error).__name__}: {error})")

    def _take(self, file: Any, timeout: float | None) -> None:
        """Record the next event; raises Empty if there is none in time."""
        queued = self.queue.get(timeout=timeout)
        event = queued if isinstance(queued, dict) else self._event(queued)
        if event is not None:
            self._write(file, event)
            self.call.note(event)

    def _queue_unneeded(self) -> None:
        """Queue which jobs need not run any more; in Snakemake's own thread, the only one that may ask it."""
        needed = self.left.keys() if self.needed is None else set(self.needed())
        if gone := [name for number, name in self.left.items() if number not in needed]:
            self.left = {number: name for number, name in self.left.items() if number in needed}
            self.queue.put({"time": time.time(), "unneeded": gone})

    def _event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        """The line for a record that changes where jobs stand; None for every other one."""
        facts = record.__dict__
        match str(facts.get("event", "")):
            case "job_started":
                kind, numbers = "running", facts["jobs"]
            case "group_info":
                kind, numbers = "running", [job.jobid for job in facts["jobs"]]
            case "job_finished":
                kind, numbers = "done", [facts["job_id"]]
            case "job_error":
                kind, numbers = "failed", [facts["jobid"]]
            case _:
                return None
        named = [self.names[number] for number in numbers if number in self.names]
        return {"time": record.created, kind: named} if named else None

    @staticmethod
    def _write(file: Any, line: Mapping[str, Any]) -> None:
        file.write(json.dumps(line) + "\n")
        file.flush()
