"""Processes that work on pictures: outside of the crawl's interpreter lock, and none of them can bring it down."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue

from decorec.crawl.outcome import Outcome

__all__ = ["Decoders", "Work"]

Work = Callable[[str, bytes], Outcome]
"""What is done with a picture, given the sha256 of its body and the body; it has to be picklable."""

PRELOADED = ["decorec.crawl.normalise", "torch.nn.functional", "torch.utils.dlpack"]
"""Modules that are imported once for all processes, most of all torch, which takes seconds."""


class Decoders:
    """Up to ``count`` processes, started when needed, each of which has one picture at a time.

    They are forked off a server process without threads, end with this process however it ends, and are replaced when
    they die.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._work = work
        self._count = count
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def run(self, sha256: str, body: bytes) -> Outcome:
        """The outcome of the work on ``body``, waited for; "unreadable" if two processes died of it.

        Raises:
            Exception: what the work raised.
        """
        for _ in range(2):  # the first death may have had another cause, such as a machine short of memory
            worker = self._free.get()
            try:
                worker = worker or _Worker(self._context, self._work)
                answer = worker.ask(sha256, body)
            except (EOFError, ConnectionError):
                assert worker is not None  # a failed start raises something else
                worker.stop()
                worker = None
                continue
            finally:
                self._free.put(worker)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return Outcome("permanent", "unreadable")

    def close(self) -> None:
        """Wait for the pictures in hand and end the processes."""
        for _ in range(self._count):
            worker = self._free.get()
            if worker is not None:
                worker.stop()


class _Worker:
    def __init__(self, context: multiprocessing.context.ForkServerContext, work: Work) -> None:
        self._connection, other = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(other, work), name="crawl-decoder", daemon=True
        )
        self._process.start()
        other.close()
        try:
            self._connection.recv()
        except EOFError as error:
            raise RuntimeError(
                "expected a process that decodes pictures to start, found it dead; its message is above (a script "
                "that calls the crawl needs the guard `if __name__ == '__main__':`)"
            ) from error

    def ask(self, sha256: str, body: bytes) -> Outcome | Exception:
        """The work's answer.

        Raises:
            EOFError, ConnectionError: the process is dead.
        """
        self._connection.send((sha256, body))
        answer: Outcome | Exception = self._connection.recv()
        return answer

    def stop(self) -> None:
        self._connection.close()
        self._process.join(1.0)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, work: Work) -> None:
    """Do ``work`` on what comes until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the terminal it reaches all; the crawl's own process decides
    warnings.filterwarnings("ignore", module="PIL")
    with suppress(EOFError, ConnectionError):
        connection.send(None)  # it has started
        while True:
            try:
                answer: Outcome | Exception = work(*connection.recv())
            except EOFError:
                raise
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            connection.send(answer)
