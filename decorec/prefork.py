"""Runs steps in copies of a process that has imported their libraries already.

A short step that needs torch is import for the most part: three to four seconds of processor time, again in each of the
many jobs of small data. Snakemake starts one process (``Prefork``) that imports once. A job's ``python -m decorec
STEP`` hands its arguments, environment and open files to it (``hand_over``), and the step runs in a fork of it, with
the same result as in the job's own process: the forked process has read nothing but modules. Where that does not fit
(another interpreter, other instructions or threads, another machine), the job runs the step itself.

The fork and its job live and die together: a signal that ends the job ends the fork, SIGTERM is passed on, and the job
ends with the exit status of the fork. The server ends with the process that started it, after the last fork.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import selectors
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["ENDED", "VARIABLE", "Prefork", "hand_over", "pays", "serve"]

VARIABLE = "DECOREC_PREFORK"
"""Environment variable of jobs: the socket of the server."""
PACKAGE = str(Path(__file__).parent.resolve())
PHASES = ("training", "evaluation")
"""Phases of the steps that are handed over: those with many short jobs."""
MODULES = ("torch", "torch._dynamo", "numba", "scipy.sparse", "decorec.config")
"""What is imported beforehand: what takes long and starts no threads, which a fork would not have (polars starts some).
An optimizer imports ``torch._dynamo`` when it is made, which takes as long as torch itself."""
FLAGS = ("--threads", "1")
"""Libraries make their threads when they are imported: only steps with one thread fit."""
ENOUGH = 3
"""Jobs from which on a server saves more than it costs."""
ENDED = 137
"""Exit status of a job whose fork was killed together with the server."""
LENGTH = struct.Struct("!Q")
PATIENCE = 60.0
"""Seconds that a job has to send its request."""
_held: list[Any] = []
"""Servers of this process."""


class Prefork:
    """The server of one call of Snakemake, as a process that ends with this one."""

    def __init__(self, folder: Path, modules: Sequence[str] = MODULES) -> None:
        """Start it; jobs that inherit the environment find it by ``VARIABLE``.

        Args:
            folder: .snakemake, where its socket lies; below the working directory, so that its path is short.
            modules: what it imports.
        """
        place = folder / f"prefork.{os.getpid()}"
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            before = os.umask(0o077)  # whoever can connect can run steps as this user
            try:
                listening.bind(str(place))
            finally:
                os.umask(before)
            listening.listen(128)
            number = listening.fileno()
            command = [sys.executable, "-m", __name__, str(number), str(place), *modules]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number])
        os.environ[VARIABLE] = str(place.absolute())
        _held.append(self)  # its standard input, which tells it that this process lives, closes with the object

    def close(self) -> None:
        """Let it end after its last fork."""
        os.environ.pop(VARIABLE, None)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def pays(commands: Iterable[str]) -> bool:
    """Whether enough of these jobs can be handed over, for a server to save more than it costs.

    Args:
        commands: of the jobs, as ``python -m decorec STEP ...``.
    """
    return sum(_fits(shlex.split(command)[3:]) for command in commands) >= ENOUGH


def hand_over(arguments: Sequence[str]) -> int | None:
    """Let the server that this process inherits run a step; its exit status, or None: run it yourself."""
    place = os.environ.get(VARIABLE)
    if not place or not _fits(arguments):
        return None
    request = {
        "prefix": sys.prefix,
        "package": PACKAGE,
        "arguments": list(arguments),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        return _asked(place, request)
    except OSError:  # it has ended
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _asked(place: str, request: dict[str, Any]) -> int | None:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.path.relpath(place))  # a path of a socket has at most 107 letters
        text = json.dumps(request).encode()
        files = array.array("i", [0, 1, 2])
        server.sendmsg([LENGTH.pack(len(text))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        server.sendall(text)
        if server.recv(1) != b"y":
            return None
        # A terminal sends its Ctrl-C to the fork as well; a SIGTERM comes to this process alone.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: server.send(bytes([number])))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        try:
            status = server.recv(1)
        except OSError:
            status = b""
        return status[0] if status else ENDED


def _fits(arguments: Sequence[str]) -> bool:
    """Whether a step is one of those that are handed over, and has one thread."""
    from decorec.processor import FLAG
    from decorec.steps import STEPS

    step = STEPS.get(arguments[0]) if arguments else None
    threads = any(tuple(arguments[place : place + 2]) == FLAGS for place in range(len(arguments)))
    return step is not None and step.phase in PHASES and threads and FLAG not in arguments


def serve(listening: socket.socket, run: Callable[[list[str]], None]) -> None:
    """Fork for each request until standard input ends, and then until the last fork has ended.

    Args:
        listening: where jobs connect.
        run: runs a step in the fork; it does not return, or the fork ends with status 0.
    """
    woken, wake = socket.socketpair()
    for end in (woken, wake, listening):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forks: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for ready in (listening, woken, sys.stdin):
            selector.register(ready, selectors.EVENT_READ)
        wanted = True
        while wanted or forks:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    selector.unregister(sys.stdin)
                    selector.unregister(listening)
                    wanted = False
                elif key.fileobj is woken:
                    woken.recv(4096)
                    _reap(forks)
                else:
                    with suppress(OSError, ValueError, KeyError):  # the job has ended meanwhile
                        pid, job = _fork(listening, run, [selector, woken, wake, *forks.values()])
                        forks[pid] = job


def _fork(listening: socket.socket, run: Callable[[list[str]], None], others: list[Any]) -> tuple[int, socket.socket]:
    """Fork for the next request; raises OSError if it is taken back, or refused."""
    job, _ = listening.accept()
    try:
        job.settimeout(PATIENCE)
        files = array.array("i")
        head, extra, _, _ = job.recvmsg(LENGTH.size, socket.CMSG_SPACE(3 * files.itemsize))
        for _, _, data in extra:
            files.frombytes(data)
        try:
            request = json.loads(_receive(job, LENGTH.unpack(head)[0]))
            fits = _is_mine(request)
            job.sendall(b"y" if fits else b"n")
            if not fits:
                raise OSError
            job.settimeout(None)
            if pid := os.fork():
                return pid, job
            _become(request, files, job, [listening, *others], run)
        finally:
            for number in files:
                os.close(number)
    except BaseException:
        job.close()
        raise
    raise AssertionError


def _is_mine(request: dict[str, Any]) -> bool:
    """Whether the step would import the same modules, and the libraries find the same in its environment."""
    from decorec.processor import LIBRARIES, PINS

    given = dict.fromkeys(LIBRARIES, FLAGS[1]) | request["environment"]
    alike = all(given.get(name) == os.environ.get(name) for name in (*LIBRARIES, *PINS))
    alone = len(list(Path("/proc/self/task").iterdir())) == 1  # a fork has no other thread than the one that forked
    return alike and alone and request["prefix"] == sys.prefix and request["package"] == PACKAGE


def _receive(job: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = job.recv(min(1 << 16, length - len(parts)))
        if not part:
            raise OSError
        parts += part
    return bytes(parts)


def _become(
    request: dict[str, Any],
    files: Sequence[int],
    job: socket.socket,
    others: list[Any],
    run: Callable[[list[str]], None],
) -> None:
    """In the fork: be the job, run its step, and end."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for other in others:
            other.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        threading.Thread(target=_follow, args=(job,), daemon=True).start()
        run(request["arguments"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            atexit._run_exitfuncs()  # as at the end of a process of its own, however the step ends
            sys.stdout.flush()
            sys.stderr.flush()
        with suppress(OSError):
            job.sendall(bytes([status & 0xFF]))
        os._exit(status & 0xFF)


def _follow(job: socket.socket) -> None:
    """In the fork: take on the signals of the job, and end when it has ended."""
    with suppress(OSError):
        while number := job.recv(1):
            os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


def _reap(forks: dict[int, socket.socket]) -> None:
    """Tell the jobs of the forks that have ended; one that ended by itself has told already."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            with suppress(KeyError), forks.pop(pid) as job, suppress(OSError):
                if os.WIFSIGNALED(status):
                    job.sendall(bytes([128 + os.WTERMSIG(status)]))


def _main(number: str, place: str, *modules: str) -> None:
    from decorec.cli import main, prepare_libraries

    prepare_libraries(FLAGS)
    gc.disable()
    with suppress(ImportError):  # the step itself says what is missing
        for name in modules:
            importlib.import_module(name)
    gc.freeze()
    try:
        serve(socket.socket(fileno=int(number)), main)
    finally:
        Path(place).unlink(missing_ok=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
