"""Who runs Snakemake in a working directory, and what a killed one has left behind.

Snakemake locks the files of a run by files of its own, which a killed run leaves behind and which say nothing of their
holder. Here every run leaves a record and holds an flock on it for as long as it lives: the kernel lets go of it
whatever ends the process, so neither a reused pid nor a reboot can make a dead run look alive. The record also names
the run to its jobs by an environment variable, which its descendants inherit. Jobs survive the death of their run;
nobody would take their results, and the next run writes the same files.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

__all__ = ["SNAKEMAKE", "VARIABLE", "Run", "enter", "living"]

SNAKEMAKE = Path(".snakemake")
"""Where Snakemake keeps what it knows of a working directory, from there."""
VARIABLE = "DECOREC_RUN"
"""Environment variable of a run and its jobs: the id of the run."""
GRACE = 10.0
"""Seconds that a job has between SIGTERM and SIGKILL."""
_held: list[IO[str]] = []
"""Records of this process, open until it ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A process of Snakemake."""

    id: str
    pid: int
    host: str
    boot: str
    """Changes with every start of the machine; containers of one machine share it, and its flocks."""
    command: str

    @staticmethod
    def this() -> Run:
        """The present process."""
        command = " ".join(["snakemake", *sys.argv[1:]])
        return Run(id=uuid.uuid4().hex, pid=os.getpid(), host=socket.gethostname(), boot=_boot(), command=command)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"


def enter(folder: Path) -> str | None:
    """Register this process in ``folder`` (.snakemake), and clear away what dead runs left: locks and living jobs.

    Returns:
        If another run may hold the locks, one line that names it, for Snakemake to refuse with where the files of the
        two overlap; else None. Where the file system has no flock, Snakemake's own rules stand.
    """
    records, this = folder / "runs", Run.this()
    try:
        records.mkdir(parents=True, exist_ok=True)
        with _entrance(records):
            others = [(path, run, _is_held(path)) for path in records.glob("*.json") if (run := _read(path))]
            _register(records, this)
            return _refusal(folder, this, others)
    except OSError:
        return None


def living(folder: Path) -> set[str]:
    """The ids of the runs in ``folder`` (.snakemake) that live, as far as this machine can tell; changes nothing."""
    records = folder / "runs"
    try:
        with (records / "entrance").open() as door:
            fcntl.flock(door, fcntl.LOCK_SH)  # so that no run that enters meets the lock that the look takes
            found = set()
            for path in records.glob("*.json"):
                with suppress(FileNotFoundError):  # it has ended meanwhile
                    if _is_held(path, "r"):
                        found.add(path.stem)
            return found
    except OSError:  # nobody has ever entered, or the file system has no flock
        return set()


def _refusal(folder: Path, this: Run, others: list[tuple[Path, Run, bool]]) -> str | None:
    """The line to refuse with; if nobody may hold the locks, they are removed."""
    place = folder.absolute().parent
    if living := [str(run) for _, run, held in others if held]:
        return f"{place}: locked by {' and '.join(living)}; wait until it has finished, or end it"
    locked = any((folder / "locks").glob("*.lock"))
    # Over a network not every file system passes on who holds an flock.
    if locked and (far := [str(run) for _, run, _ in others if run.host != this.host and run.boot != this.boot]):
        return (
            f"{place}: locked by {' and '.join(far)}, and from {this.host} nobody can tell whether it still runs; if it"
            " does not, run `snakemake --unlock` and repeat the command"
        )
    if others:
        ended = _end({run.id for _, run, _ in others})
        shutil.rmtree(folder / "locks", ignore_errors=True)
        for path, _, _ in others:
            path.unlink(missing_ok=True)
        if locked or ended:
            jobs = f"; its jobs that still ran are ended: {', '.join(map(str, ended))}" if ended else ""
            killed = " and ".join(str(run) for _, run, _ in others)
            print(f"Killed before it had finished: {killed}. Its lock is released{jobs}", file=sys.stderr)
    return None


def _register(records: Path, run: Run) -> None:
    path = records / f"{run.id}.json"
    record = path.open("w", encoding="utf-8")
    fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    json.dump(asdict(run), record)
    record.flush()
    os.fsync(record.fileno())  # a power cut must not take it and leave the locks
    _held.append(record)
    atexit.register(path.unlink, missing_ok=True)
    os.environ[VARIABLE] = run.id


@contextmanager
def _entrance(records: Path) -> Iterator[None]:
    """One process at a time, so that nobody sees a record before it is held."""
    with (records / "entrance").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield


def _is_held(path: Path, mode: Literal["r", "r+"] = "r+") -> bool:
    """Whether a living run holds a record; to look needs no right to write, except over some networks."""
    with path.open(mode) as record:
        try:
            fcntl.flock(record, (fcntl.LOCK_EX if mode == "r+" else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(path: Path) -> Run | None:
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # cut off by the kill: it came no further than its record
        path.unlink(missing_ok=True)
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _end(runs: set[str]) -> list[int]:
    """End the processes that ``runs`` have started; returns their pids."""
    ended: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + GRACE
        while (pids := _started_by(runs)) and time.monotonic() < end:
            for pid in pids:
                if signum == signal.SIGKILL or pid not in ended:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signum)
            ended += [pid for pid in pids if pid not in ended]
            time.sleep(0.05)
    return ended


def _started_by(runs: set[str]) -> list[int]:
    marks = {f"{VARIABLE}={run}".encode() for run in runs}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # ended, or another user's
            continue
        if marks & set(environment.split(b"\0")) and int(process.name) != os.getpid():
            found.append(int(process.name))
    return sorted(found)
