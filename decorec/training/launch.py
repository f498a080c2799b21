"""Runs a training step in several processes of this machine, and ends them together.

The step's own process computes nothing: it starts the ranks, forks of a server that has imported their libraries, and
waits for them. Whatever ends one of them ends all, within moments, with one message. A scheduler sends its SIGTERM to
all processes of a job, and a terminal its Ctrl-C; ranks ignore both. The step's process tells the first rank, and all
finish the batch and keep the state (``decorec.artifacts.resume``). If it is killed, its ranks end with it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from decorec import gpus
from decorec.artifacts import seal, step_log
from decorec.artifacts.resume import ASKING
from decorec.errors import DecorecError
from decorec.processor import LIBRARIES
from decorec.training import ranks
from decorec.training.members import Answer, Channel, Member, adopt, answering, follow, passed_on, wait

__all__ = ["Work", "compute", "together", "work_of"]

MODULES = ("torch", "torch._dynamo", "torch.distributed", "numba", "scipy.sparse", "decorec.config")
"""What the server imports: what takes long and starts no threads, which a fork would not have. The optimizer imports
``torch._dynamo`` when it is made."""


@dataclass(frozen=True)
class Work:
    """What ranks compute, and where they meet."""

    step: Callable[..., None]
    """A function of a module; ``ranks.here()`` tells it which rank it is."""
    arguments: dict[str, Any]
    """Of the step, with the threads of one rank."""
    count: int
    """Number of all ranks."""
    meeting: ranks.Meeting
    sealed: bool
    """Whether the step notes what it reads and writes."""
    start: float
    """Of the step, by the clock of this machine (``time.monotonic``)."""


@dataclass(eq=False)
class _Rank(Member):
    process: BaseProcess
    number: int
    count: int
    node: str

    def killed(self) -> DecorecError:
        code = self.process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        where = f" on node {self.node}" if self.node else ""
        return DecorecError(
            f"train.devices: expected {self.count} processes that train together, found rank {self.number} (process "
            f"{self.process.pid}{where}) {how}, and ended the others; if memory is short, give the job more or lower "
            "train.devices; the same command continues from the state that was kept last"
        )

    def end(self) -> None:
        if self.answer is None:
            self.process.kill()
        self.process.join()
        self.channel.close()


def together(step: Callable[..., None], count: int, arguments: dict[str, Any]) -> None:
    """Run ``step`` in ``count`` processes, each with ``arguments`` and its part of the threads.

    Args:
        step: a function of a module; ``ranks.here()`` tells it which rank it is.
        count: number of processes.
        arguments: of the step, among them ``threads``.

    Raises:
        DecorecError: a rank has raised it, or was killed.
        SystemExit: the job was asked to end, and the state is kept.
    """
    gpus.take(count)
    started: list[Member] = []
    with tempfile.TemporaryDirectory() as folder, passed_on(started):
        answer = compute(work_of(step, arguments, count, count, Path(folder) / "meeting"), range(count), started)
    adopt([answer])


def work_of(
    step: Callable[..., None], arguments: dict[str, Any], count: int, here: int, meeting: ranks.Meeting
) -> Work:
    """What ``count`` ranks compute for the step of this process; ``here`` of them share the threads of one machine."""
    own = {**arguments, "threads": max(1, arguments["threads"] // here)}
    return Work(step, own, count, meeting, seal.current() is not None, step_log.current().start)


def compute(work: Work, numbers: range, started: list[Member], node: str = "") -> Answer:
    """Run some of the ranks in processes of this machine.

    Args:
        work: of all ranks.
        numbers: of those that run here.
        started: they are added to it.
        node: name of this machine, where there are several.

    Returns:
        What the first of them says, with the memory of all.

    Raises:
        DecorecError: a rank has raised it, or was killed.
        LostError: a rank has lost those on other machines.
    """
    context = _served(work.arguments["threads"])
    try:
        for number in numbers:
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(theirs, work, number, len(numbers)), daemon=True)
            process.start()
            theirs.close()
            started.append(_Rank(f"rank {number} of {work.count}", process, ours, number, work.count, node))
        wait(started)
    finally:
        for rank in started:
            rank.end()
    answers = [rank.answer for rank in started if rank.answer is not None]
    return replace(answers[0], memory=sum(answer.memory for answer in answers))


def _served(threads: int) -> Any:
    """A context whose processes are forks of the server, of which each has ``threads`` threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(LIBRARIES, str(threads)))
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server has to outlive its forks
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(channel: Channel, work: Work, number: int, here: int) -> NoReturn:
    """A rank, in its process; ``here``: number of ranks on this machine."""
    for asking in ASKING:
        signal.signal(asking, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    told: list[int] = []
    follow(channel, told.append)
    entry = step_log.begun(work.step.__name__)
    entry.start = work.start

    def computed() -> Answer:
        known: seal.Provenance | None = None
        status = 0
        try:
            ranks.join(number, work.count, here, work.meeting, told)
            with seal.provenance() if work.sealed else nullcontext() as known:
                work.step(**work.arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        memory = step_log.largest_memory(os.getpid()) / 1024
        return Answer(status, known=known if number == 0 else None, memory=memory, earlier=entry.earlier)

    answering(channel, computed)
