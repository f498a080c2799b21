"""Processes that compute together, each with a channel to the process that has started it, and end together.

Whatever ends one of them ends all, within moments, with one message. They may be ranks on one machine
(``decorec.training.launch``), or what starts ranks on several (``decorec.training.nodes``).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, NoReturn, Protocol

from decorec.artifacts import seal, step_log
from decorec.artifacts.resume import ASKING
from decorec.errors import DecorecError
from decorec.training.ranks import LostError

__all__ = ["END", "Answer", "Channel", "Member", "adopt", "answering", "follow", "passed_on", "wait"]

END = 5.0
"""Seconds that the others have to tell of themselves, when one has told that it has lost them."""


class Channel(Protocol):
    """To and from another process, of objects that can be pickled."""

    def send(self, obj: Any, /) -> None:
        """Fails with OSError if the other process has ended."""

    def recv(self) -> Any:
        """Fails with EOFError or OSError if the other process has ended."""

    def poll(self) -> bool:
        """Whether there is something to receive, or nothing more will come."""

    def fileno(self) -> int:
        """What becomes readable then."""

    def close(self) -> None:
        """The other process notices."""


class Process(Protocol):
    """A process that this one has started."""

    @property
    def sentinel(self) -> int:
        """What becomes readable when it has ended."""

    def is_alive(self) -> bool:
        """Whether it runs."""


@dataclass(frozen=True)
class Answer:
    """What a process says at its end."""

    status: int = 0
    """Exit status that it would have as a process of its own."""
    error: BaseException | None = None
    text: str = ""
    """The error as it would have been printed."""
    known: seal.Provenance | None = None
    memory: float = 0.0
    """Its largest, in MB."""
    processor_seconds: float = 0.0
    """Taken where the process that hears of it cannot see it: on other machines."""
    earlier: step_log.Used = field(default_factory=step_log.Used)
    """What earlier starts of the step took."""


@dataclass(eq=False)
class Member(ABC):
    """One of the processes, and what is heard of it."""

    name: str
    process: Process
    channel: Channel
    answer: Answer | None = field(default=None, init=False)
    silent: bool = field(default=False, init=False)
    """Whether it has closed its channel. Of a process that is killed this is known before its end is."""

    def listen(self) -> None:
        """Take its answer, if it has given one."""
        try:
            if self.channel.poll():
                self.answer = self.channel.recv()
        except (EOFError, OSError):
            self.silent = True

    def sources(self) -> list[Any]:
        """What becomes ready when there is news of it."""
        return [self.process.sentinel] if self.silent else [self.channel, self.process.sentinel]

    @abstractmethod
    def killed(self) -> DecorecError:
        """Says that it has ended without an answer."""

    @abstractmethod
    def end(self) -> None:
        """Wait for its end, if it has answered; otherwise end it: a state is on disk whole, or not at all."""


@contextmanager
def passed_on(started: Sequence[Member]) -> Iterator[None]:
    """Tell the first member of the first signal that asks this process to end; a second one ends all at once."""
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


def wait(members: Sequence[Member]) -> None:
    """Until all have ended well, or one has not.

    Raises:
        DecorecError: one has raised it, or was killed.
        LostError: some have lost others, and nothing is heard of what has ended these.
    """
    running, lost = list(members), dict[Member, Answer]()
    while running:
        sources = [source for member in running for source in member.sources()]
        if not connection.wait(sources, END if lost else None):
            break
        ended = [member for member in running if not member.process.is_alive()]
        for member in running:
            if member.answer is None:
                member.listen()
            if member.answer is None and member in ended:
                raise member.killed()
            if member.answer is not None and isinstance(member.answer.error, LostError):
                lost[member] = member.answer
            elif member.answer is not None and (error := member.answer.error) is not None:
                raise error from RuntimeError(f"in {member.name}:\n{member.answer.text}")
        running = [member for member in running if member not in ended and member.answer is None]
    for member, answer in lost.items():
        raise LostError(f"{member.name} has lost the connection to the others") from RuntimeError(answer.text)


def adopt(answers: Sequence[Answer]) -> None:
    """Count what the processes did as done by the step of this one; the first one speaks for all.

    Raises:
        SystemExit: with its status, if that is not 0.
    """
    first = answers[0]
    step_log.count_ended(sum(answer.memory for answer in answers), sum(answer.processor_seconds for answer in answers))
    step_log.current().continues(first.earlier)
    if first.known is not None:
        seal.adopt(first.known)
    if first.status:
        raise SystemExit(first.status)


def answering(channel: Channel, compute: Callable[[], Answer]) -> NoReturn:
    """Compute the answer of this process, give it, and end."""
    try:
        answer = compute()
    except BaseException as failure:
        error = failure if _can_be_sent(failure) else RuntimeError(repr(failure))
        answer = Answer(1, error, "".join(traceback.format_exception(failure)))
    channel.send(answer)
    sys.stderr.flush()
    os._exit(answer.status)  # the threads of the backends do not end by themselves where another rank is gone


def _can_be_sent(failure: BaseException) -> bool:
    try:
        pickle.loads(pickle.dumps(failure))
    except Exception:
        return False
    return True


def follow(channel: Channel, heed: Callable[[Any], object]) -> None:
    """From now on heed what the process that has started this one says, and end with it."""

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                heed(channel.recv())
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
