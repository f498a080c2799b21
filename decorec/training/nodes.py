"""Runs a training step on several nodes of a job of SLURM, in several processes on each.

The step's own process starts one launcher on each node with srun, and each launcher the ranks of its node, as
``decorec.training.launch`` does on one machine. What it says to a launcher, and what that answers, go through srun as
lines of text: nobody else can read or write them. The ranks meet at a server of the step's process, at the address by
which SLURM has reached it from another node. When srun ends, its node is lost; when the step's process ends, srun and
the launchers do.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import connection
from typing import Any, NoReturn

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from decorec.artifacts import step_log
from decorec.artifacts.resume import ASKING
from decorec.artifacts.step_log import Used
from decorec.errors import DecorecError
from decorec.training import allocation
from decorec.training.launch import compute, work_of
from decorec.training.members import END, Answer, Member, adopt, answering, follow, passed_on, wait
from decorec.training.ranks import PATIENCE, LostError

__all__ = ["launcher", "over_nodes"]

COMMAND = [sys.executable, "-c", "from decorec.training.nodes import launcher; launcher()"]
MARK = b"~"
"""Begins a line of a message. Others come from what a cluster runs before a program, and go to the log."""
POLL = 0.1
"""Seconds between two looks whether a rank is started."""


class _Lines:
    """A channel of lines of text, of 80 letters at most: srun holds back what is no whole line, and cuts long ones."""

    def __init__(self, reads: io.BufferedReader, writes: io.RawIOBase) -> None:
        """``writes``: without a buffer, since a handler of signals may write as well."""
        self._reads, self._writes = reads, writes

    def send(self, obj: Any, /) -> None:
        lines = base64.encodebytes(pickle.dumps(obj)).splitlines(keepends=True)
        text = b"".join(MARK + line for line in [*lines, b"\n"])
        if self._writes.closed:  # a signal may come while a job ends
            raise BrokenPipeError
        while text:
            text = text[self._writes.write(text) :]

    def recv(self) -> Any:
        text = b""
        while (line := self._reads.readline()) != MARK + b"\n":
            if not line:
                raise EOFError
            if line.startswith(MARK):
                text += line.removeprefix(MARK)
            else:
                sys.stderr.write(line.decode(errors="replace"))
        return pickle.loads(base64.b64decode(text))

    def poll(self) -> bool:
        return bool(connection.wait([self.fileno()], 0))

    def fileno(self) -> int:
        return self._reads.fileno()

    def close(self) -> None:
        self._writes.close()
        self._reads.close()


class _Srun:
    """A running srun."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.sentinel = os.pidfd_open(process.pid)

    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass(eq=False)
class _Node(Member):
    process: _Srun
    numbers: range
    """Of its ranks."""

    def killed(self) -> DecorecError:
        ranks = ", ".join(map(str, self.numbers))
        return DecorecError(
            f"train.nodes: expected an answer of {self.name} with ranks {ranks}, found that its srun has ended: the "
            "node is lost, or nothing can be started there; see what srun says above, and SLURM's log; the same "
            "command continues from the state that was kept last"
        )

    def end(self) -> None:
        self.channel.close()  # the launcher then ends, and srun with it
        try:
            self.process.process.wait(END)
        except subprocess.TimeoutExpired:  # the node does not answer; SLURM ends what runs there with the job
            self.process.process.kill()
            self.process.process.wait()
        os.close(self.process.sentinel)


def over_nodes(step: Callable[..., None], nodes: int, each: int, arguments: dict[str, Any]) -> None:
    """Run ``step`` in ``each`` processes on each of ``nodes`` nodes, as ``launch.together`` does on one machine.

    Args:
        step: a function of a module; ``ranks.here()`` tells it which rank it is. The first rank is on the first node.
        nodes: number of nodes, 2 or more.
        each: number of processes on each of them, which share its threads.
        arguments: of the step, among them ``threads``.

    Raises:
        DecorecError: this is no job of SLURM, a rank has raised it or was killed, or a node is lost.
        SystemExit: the job was asked to end, and the state is kept.
    """
    allocation.expect(nodes)
    started: list[_Node] = []
    with passed_on(started):
        try:
            for number in range(nodes):
                started.append(_start(number, nodes, each))
            reached = [_heard(node) for node in started][1]
            server = _server(reached)
            work = work_of(step, arguments, nodes * each, each, (reached, server.port))
            for node in started:
                with suppress(OSError):  # it has ended, as is noticed below
                    node.channel.send((work, node.numbers, step_log.current().seconds))
            wait(started)
        except LostError as error:
            raise DecorecError(
                f"train.nodes: expected {nodes} nodes that train together, found that {error}, of which none says why; "
                "look into SLURM's log for a node that is lost, and whether the nodes reach each other; the same "
                "command continues from the state that was kept last"
            ) from error
        finally:
            for node in started:
                node.end()
    adopt([node.answer for node in started if node.answer is not None])


def _start(number: int, nodes: int, each: int) -> _Node:
    process = subprocess.Popen(
        allocation.on_node(number, each, COMMAND),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=allocation.environment(),
        start_new_session=True,  # a terminal's Ctrl-C would end srun
    )
    assert isinstance(process.stdin, io.RawIOBase) and isinstance(process.stdout, io.RawIOBase)
    channel = _Lines(io.BufferedReader(process.stdout), process.stdin)
    numbers = range(number * each, (number + 1) * each)
    return _Node(f"node {number + 1} of {nodes}", _Srun(process), channel, numbers)


def _heard(node: _Node) -> str:
    """Wait for its launcher, which says its name, and by which address it has been reached from here."""
    try:
        name, address = node.channel.recv()
    except EOFError:
        raise node.killed() from None
    node.name += f" ({name})"
    return str(address)


def _server(address: str) -> TCPStore:
    """Where the ranks meet, on a free port of this address alone, for as long as it is referred to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listens = socket.create_server((address, 0), family=family)
    port = listens.getsockname()[1]
    return TCPStore(
        address, port, is_master=True, wait_for_workers=False, timeout=PATIENCE, master_listen_fd=listens.detach()
    )


def launcher() -> NoReturn:
    """On a node: start its ranks, wait for them, and answer."""
    # What this process and its ranks print goes to the log, and they read nothing.
    channel = _Lines(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", 0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    started: list[Member] = []
    tell = partial(_tell, started)
    for number in ASKING:  # the scheduler asks all processes of a job, so that this one is told twice
        signal.signal(number, lambda number, _: tell(number))
    name = os.environ["SLURMD_NODENAME"]
    channel.send((name, os.environ["SLURM_LAUNCH_NODE_IPADDR"]))
    work, numbers, elapsed = channel.recv()
    start = time.monotonic() - elapsed
    follow(channel, tell)

    def computed() -> Answer:
        try:
            answer = compute(replace(work, start=start), numbers, started, name)
            return replace(answer, processor_seconds=Used.so_far(start).processor_seconds)
        finally:  # srun waits for all that could still write, as the server of the forks
            for process in step_log.descendants(os.getpid()):
                os.kill(process, signal.SIGKILL)

    answering(channel, computed)


def _tell(started: Sequence[Member], number: int) -> None:
    """Tell the first rank of a signal, as soon as it is started; only that of the first node heeds it."""

    def tell() -> None:
        while not started:
            time.sleep(POLL)
        with suppress(OSError):  # it has ended
            started[0].channel.send(number)

    threading.Thread(target=tell, daemon=True).start()
