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
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from decorec import gpus
from decorec.artifacts import seal, step_log
from decorec.artifacts.resume import ASKING
from decorec.errors import DecorecError
from decorec.processor import LIBRARIES
from decorec.training import ranks

__all__ = ["together"]

MODULES = ("torch", "torch._dynamo", "torch.distributed", "numba", "scipy.sparse", "decorec.config")
"""What the server imports: what takes long and starts no threads, which a fork would not have. The optimizer imports
``torch._dynamo`` when it is made."""
END = 5.0
"""Seconds that the other ranks have to tell of themselves, when one has told that it has lost them."""

Channel = connection.Connection


@dataclass(frozen=True)
class _Answer:
    """What a rank says at its end."""

    status: int = 0
    """Exit status that it would have as a process of its own."""
    error: BaseException | None = None
    text: str = ""
    """The error as it would have been printed."""
    known: seal.Provenance | None = None
    memory: float = 0.0
    """Its largest, in MB."""
    earlier: step_log.Used = field(default_factory=step_log.Used)
    """What earlier starts of the step took."""


@dataclass
class _Rank:
    process: BaseProcess
    channel: Channel
    answer: _Answer | None = None
    silent: bool = False
    """Whether it has closed its channel. Of a rank that is killed this is known before its end is."""

    def listen(self) -> None:
        """Take its answer, if it has given one."""
        try:
            if self.channel.poll():
                self.answer = self.channel.recv()
        except (EOFError, OSError):
            self.silent = True

    def sources(self) -> list[Channel | int]:
        """What becomes ready when there is news of it."""
        return [self.process.sentinel] if self.silent else [self.channel, self.process.sentinel]


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
    threads = max(1, arguments["threads"] // count)
    context = _served(threads)
    started: list[_Rank] = []
    with tempfile.TemporaryDirectory() as folder, _passed_on(started):
        meeting = Path(folder) / "meeting"
        sealed, start = seal.current() is not None, step_log.current().start
        try:
            for number in range(count):
                ours, theirs = context.Pipe()
                given = (theirs, number, count, meeting, sealed, start, step, {**arguments, "threads": threads})
                process = context.Process(target=_run, args=given, daemon=True)
                process.start()
                theirs.close()
                started.append(_Rank(process, ours))
            _wait(started)
        finally:
            _end(started)
    first = started[0].answer
    assert first is not None
    step_log.count_ended(sum(rank.answer.memory for rank in started if rank.answer is not None))
    step_log.current().continues(first.earlier)
    if first.known is not None:
        seal.adopt(first.known)
    if first.status:
        raise SystemExit(first.status)


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


@contextmanager
def _passed_on(started: list[_Rank]) -> Iterator[None]:
    """Tell the first rank of the first signal that asks this process to end; a second one ends all at once."""
    heard = False

    def ask(number: int, _: object) -> None:
        nonlocal heard
        if heard or not started:
            raise SystemExit(128 + number)
        heard = True
        with suppress(OSError):  # it has ended
            started[0].channel.send(number)

    before = {number: signal.signal(number, ask) for number in ASKING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(started: list[_Rank]) -> None:
    """Until all have ended well, or one has not."""
    running = dict(enumerate(started))
    lost: dict[int, _Answer] = {}
    while running:
        sources = [source for rank in running.values() for source in rank.sources()]
        if not connection.wait(sources, END if lost else None):
            break
        ended = {number: rank for number, rank in running.items() if not rank.process.is_alive()}
        for number, rank in running.items():
            if rank.answer is None:
                rank.listen()
            if rank.answer is None and number in ended:
                _killed(number, len(started), rank.process)
            if rank.answer is not None and isinstance(rank.answer.error, ranks.LostError):
                lost[number] = rank.answer
            elif rank.answer is not None and (error := rank.answer.error) is not None:
                raise error from RuntimeError(f"in rank {number} of {len(started)}:\n{rank.answer.text}")
        running = {number: rank for number, rank in running.items() if number not in ended and rank.answer is None}
    for number, answer in lost.items():
        raise RuntimeError(f"rank {number} of {len(started)} has lost the connection to the others:\n{answer.text}")


def _killed(number: int, count: int, process: BaseProcess) -> NoReturn:
    code = process.exitcode or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    raise DecorecError(
        f"train.devices: expected {count} processes that train together, found rank {number} (process {process.pid}) "
        f"{how}, and ended the others; if memory is short, give the job more or lower train.devices; the same command "
        "continues from the state that was kept last"
    )


def _end(started: list[_Rank]) -> None:
    """Those that have answered end by themselves; the others are killed: a state is on disk whole, or not at all."""
    for rank in started:
        if rank.answer is None:
            rank.process.kill()
    for rank in started:
        rank.process.join()
        rank.channel.close()


def _run(
    channel: Channel,
    number: int,
    count: int,
    meeting: Path,
    sealed: bool,
    start: float,
    step: Callable[..., None],
    arguments: dict[str, Any],
) -> None:
    """A rank, in its process."""
    for asking in ASKING:
        signal.signal(asking, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    told: list[int] = []
    threading.Thread(target=_follow, args=(channel, told), daemon=True).start()
    known: seal.Provenance | None = None
    status, error, text = 0, None, ""
    entry = step_log.begun(step.__name__)
    entry.start = start
    try:
        ranks.join(number, count, meeting, told)
        with seal.provenance() if sealed else nullcontext() as known:
            step(**arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as failure:
        text = "".join(traceback.format_exception(failure))
        error = failure if _can_be_sent(failure) else RuntimeError(repr(failure))
    memory = step_log.largest_memory(os.getpid()) / 1024
    channel.send(_Answer(status, error, text, known if number == 0 else None, memory, entry.earlier))
    sys.stderr.flush()
    os._exit(status)  # the threads of the backends do not end by themselves where another rank is gone


def _can_be_sent(failure: BaseException) -> bool:
    try:
        pickle.loads(pickle.dumps(failure))
    except Exception:
        return False
    return True


def _follow(channel: Channel, told: list[int]) -> None:
    """In a rank: note what the step's process says, and end with it."""
    with suppress(EOFError, OSError):
        while True:
            told.append(channel.recv())
    os.kill(os.getpid(), signal.SIGKILL)
