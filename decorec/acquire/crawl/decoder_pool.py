"""Processes that decode pictures: they do not share the crawl's interpreter lock, and their crashes do not end it."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue

from decorec.acquire.crawl.outcome import Outcome
from decorec.acquire.shortage import shortage
from decorec.errors import DecorecError

__all__ = ["DecoderPool", "Work"]

Work = Callable[[str, bytes], Outcome]
"""The work on one picture: a function of the sha256 of its body and of the body. It must be picklable."""

PRELOADED = ["decorec.acquire.crawl.image_normalisation", "torch.nn.functional"]
"""Modules that are imported once for all processes; torch alone takes seconds."""
UNKNOWN = 255
"""Exit code of a process whose parent, the server process, has died before it could tell."""

AHEAD = 2
"""Pictures that a process holds: the one it works on, and the next one, so that it does not have to wait."""
ROOM = 64_000_000
"""Bytes of pictures that may wait for a process while the crawl goes on fetching."""
DEATHS = 2
"""Deaths of processes after which a picture is given up; at the last one it was alone in a fresh process."""
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})
"""Signals that a process meets by its own doing; others come from outside, such as from a system without memory."""
SECONDS_TO_DIE = 10.0
"""A process that crashes may write its memory to disk first; killed meanwhile, it would tell a wrong reason."""
DIGITS = 64
"""Length of a sha256 in hexadecimal."""


@dataclass(slots=True, eq=False)
class _Task:
    sha256: str
    body: bytes
    deaths: int = 0
    future: Future[Outcome] = field(default_factory=Future)


class DecoderPool:
    """``count`` processes that take pictures from one queue; each is started when it is needed.

    The processes are forked from a server process without threads. They end with this process, however it ends, and
    are replaced when they crash. One thread per process hands over pictures and receives answers.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._waiting = 0
        self._change = threading.Condition()
        self._threads = [
            threading.Thread(target=_Worker(work, self._tasks).run, name=f"crawl-decoder-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, sha256: str, body: bytes) -> Future[Outcome]:
        """The outcome of the work on ``body``, or the exception it raised.

        It is permanent, "unreadable", if the body crashes a fresh process that has nothing else to do; and transient,
        "decoder-killed", if something else ends the processes, so that another run tries it again.

        Waits while too many bytes are queued. Callbacks of the future run in a thread of this object.
        """
        size = len(body)
        with self._change:
            while self._waiting and self._waiting + size > ROOM:
                self._change.wait()
            self._waiting += size
        task = _Task(sha256, body)
        task.future.add_done_callback(lambda _: self._leave(size))
        self._tasks.put(task)
        return task.future

    def close(self) -> None:
        """Wait for the queued pictures and end the processes."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _leave(self, size: int) -> None:
        with self._change:
            self._waiting -= size
            self._change.notify()


class _Worker:
    """Gives one process tasks from a queue, until the queue returns None."""

    def __init__(self, work: Work, tasks: SimpleQueue[_Task | None]) -> None:
        self._work = work
        self._tasks = tasks
        self._given: deque[_Task] = deque()  # the process answers in this order
        self._over = False
        self._failure: Exception | None = None
        self._process: BaseProcess | None = None
        self._exitcode: int | None = None
        """Of the last process, negative for a signal."""
        self._connection: Connection

    def run(self) -> None:
        # Ctrl-C reaches all processes of the terminal, and the crawl's own process is the one to react. Processes that
        # this thread starts inherit the mask, from their first instruction on. The resource tracker comes first,
        # because its start takes the mask away again.
        try:
            resource_tracker.ensure_running()
        except OSError as error:  # for each picture to tell
            self._failure = error
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._over or self._given:
            try:
                if self._process is None:
                    self._recover()
                self._give()
                if self._given:
                    self._take()
            except (EOFError, ConnectionError):
                self._stop()
            except Exception as error:
                self._stop()
                self._failure = error
                while self._given:
                    self._given.popleft().future.set_exception(error)
        self._stop()

    def _give(self) -> None:
        """Hand over tasks; wait for one if the process has none."""
        while len(self._given) < AHEAD and not self._over:
            try:
                task = self._tasks.get(block=not self._given)
            except Empty:
                return
            if task is None:
                self._over = True
                return
            self._given.append(task)
            if self._process is None:
                self._start()
            self._send(task)

    def _take(self) -> None:
        answer: Outcome | Exception = self._connection.recv()
        task = self._given.popleft()
        if isinstance(answer, Exception):
            task.future.set_exception(answer)
        else:
            task.future.set_result(answer)

    def _send(self, task: _Task) -> None:
        self._connection.send_bytes(task.sha256.encode() + task.body)

    def _recover(self) -> None:
        """Continue with the tasks of a process that has died while it worked on the first of them."""
        if not self._given:
            return
        first = self._given[0]
        first.deaths += 1
        if first.deaths == DEATHS:
            self._given.popleft()
            lost = Outcome("permanent", "unreadable") if self._crashed() else Outcome("transient", "decoder-killed")
            first.future.set_result(replace(lost, sha256=first.sha256, bytes=len(first.body)))
        if self._given:
            self._start()
            self._send(self._given[0])
            self._take()  # alone, so that it is plain which picture ends a process
            for task in self._given:
                self._send(task)

    def _crashed(self) -> bool:
        """Whether the last process died by its own doing."""
        code = self._exitcode or 0
        return 0 < code < UNKNOWN or -code in CRASHES

    def _start(self) -> None:
        if self._failure is not None:  # it would fail again
            raise self._failure
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, self._work), name="crawl-decoder", daemon=True)
        try:
            process.start()
            other.close()
            self._connection.recv()
        except (EOFError, OSError) as error:
            if shortage(error):
                raise
            raise DecorecError(
                "crawl: expected a process that decodes pictures to start, found that it ended; its message is above, "
                "or it was killed, as a system without memory does (run the same command again); a script that calls "
                "the crawl needs the guard `if __name__ == '__main__':`"
            ) from error
        self._process = process

    def _stop(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.join(SECONDS_TO_DIE)
            self._process.kill()
            self._process.join()
            self._exitcode, self._process = self._process.exitcode, None


def _serve(connection: Connection, work: Work) -> None:
    """Do ``work`` on each picture received, until the connection is closed."""
    warnings.filterwarnings("ignore", module="PIL")
    gc.freeze()  # the collector need not look through the hundred thousand objects of the libraries
    with suppress(EOFError, ConnectionError):
        connection.send(None)  # it has started
        while True:
            message = connection.recv_bytes()
            try:
                answer: Outcome | Exception = work(message[:DIGITS].decode(), message[DIGITS:])
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            connection.send(answer)
