"""Requests per second and waiting times of `decorec serve`, beside Cornac's serving app.

Our side: models of width 300 with random weights over generated items (DeCoRec; SASRec, a transformer over ids;
popularity, which computes nothing, so that what is left is HTTP, validation, the choice of the best 12 and JSON), each
request a history of 5 to 50 items, the best 12 that are not in it. Cornac's side: BPR of the same width over the same
number of items, the best 12 for a known user, seen items removed; a lookup of the user's vector, where ours runs a
transformer over a history. It runs in an environment of its own, under its own Flask app and Flask's threaded server:

    python3 -m venv ~/.cache/decorec-benchmarks/cornac
    ~/.cache/decorec-benchmarks/cornac/bin/pip install cornac flask

Servers and clients run on the same machine; the servers are asked in turn, and the other one is idle. The clients are
one process that keeps as many connections busy as there are clients; each sends its next request when it has its
answer. Processor time is that of the server alone: on a machine that is shared with others it says more than the clock.

    python -m benchmarks serve [--items 20000] [--models decorec sasrec popularity] [--seconds 10] [--threads 1]
        [--cornac [PYTHON]]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks._worlds import describe_machine, generated
from decorec.config.runs import resolve
from decorec.models import checkpoint
from decorec.models.registry import build

__all__ = ["main"]

CLIENTS = (1, 16, 64)
PYTHON = Path("~/.cache/decorec-benchmarks/cornac/bin/python")


def main() -> None:
    """Start the servers, ask them in turn, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks serve")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--models", nargs="+", default=["decorec", "sasrec", "popularity"])
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement, after a fifth of it to warm up")
    parser.add_argument("--threads", type=int, default=1, help="of one scoring")
    parser.add_argument("--cornac", type=Path, nargs="?", const=PYTHON, help="interpreter of Cornac's environment")
    options = parser.parse_args()
    print(f"{describe_machine()}; {options.items:,} items, {options.threads} threads of the server", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ExitStack() as running:
            servers = []
            for model in options.models:
                _save(folder / model, model, options.items)
                ours = [sys.executable, "-m", "decorec", "serve", "--run", str(folder / model), "--port", "0"]
                ours += ["--threads", str(options.threads)]
                server = running.enter_context(_server(ours, r"serving at http://127.0.0.1:(\d+)", options.threads))
                servers.append((model, server, _histories(options.items)))
            if options.cornac is not None:
                theirs = _peer(options.cornac.expanduser(), folder, options.items)
                server = running.enter_context(_server(theirs, r"Running on http://127.0.0.1:(\d+)", options.threads))
                servers.append(("cornac BPR", server, _lookups()))
            for clients in CLIENTS:
                for name, (port, process), requests in servers:
                    _measure(name, port, process, requests, clients, options.seconds)


def _peer(python: Path, folder: Path, items: int) -> list[str]:
    """The command of Cornac's server."""
    if not python.exists():
        sys.exit(f"{python}: expected the interpreter of Cornac's environment; see benchmarks/serve.py for it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return [str(python), str(Path(__file__).with_name("_cornac.py")), str(folder), str(items), str(port)]


def _save(folder: Path, name: str, items: int) -> None:
    """A run with random weights, or with the counts of random purchases."""
    world = generated("generated", items, items, 7.67)
    run = resolve({}, "described", {"model": {"name": name}})
    torch.manual_seed(0)
    model = build(run, world.item_data, run.stages[-1])
    model.observe(world.sequences.training())
    names, counts = [f"item-{number}" for number in range(items)], world.sequences.counts(items)
    checkpoint.save(model, run, 0, names, counts, folder / "model.safetensors", folder / "config.json")


def _histories(items: int) -> list[bytes]:
    random = np.random.default_rng(0)
    found = []
    for length in random.integers(5, 51, 2_000):
        history = [f"item-{item}" for item in random.integers(0, items, length)]
        body = json.dumps({"history": history, "k": 12}).encode()
        head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        found.append(f"{head}\r\n\r\n".encode() + body)
    return found


def _lookups() -> list[bytes]:
    users = np.random.default_rng(0).integers(0, 2_000, 2_000)
    return [f"GET /recommend?uid=u{u}&k=12&remove_seen=true HTTP/1.1\r\nHost: x\r\n\r\n".encode() for u in users]


@contextmanager
def _server(command: list[str], ready: str, threads: int) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, from the line with its port on: its port and the process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.NamedTemporaryFile("r+") as said:  # not a pipe: who writes into a full one stops
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        try:
            while not (found := re.search(ready, Path(said.name).read_text())):
                if process.poll() is not None:
                    sys.exit(f"the server ended:\n{Path(said.name).read_text()}")
                time.sleep(0.1)
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _measure(name: str, port: int, process: int, requests: Sequence[bytes], clients: int, seconds: float) -> None:
    asyncio.run(_load(port, requests, clients, seconds / 5))
    before = _processor_seconds(process)
    waits = np.array(asyncio.run(_load(port, requests, clients, seconds))) * 1e3
    cost = 1e3 * (_processor_seconds(process) - before) / len(waits)
    p50, p99 = np.percentile(waits, [50, 99])
    print(
        f"{name:<12} {clients:>3} clients: {len(waits) / seconds:8.1f} requests/s, p50 {p50:8.2f} ms, "
        f"p99 {p99:8.2f} ms, {cost:6.2f} ms of processor time a request",
        flush=True,
    )


def _processor_seconds(process: int) -> float:
    """What a process has used so far, all threads together."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    """Seconds that each request took, of those that ended in time."""
    end, waits = time.perf_counter() + seconds, []

    async def client(number: int) -> None:
        reader = writer = None
        turn = number
        while time.perf_counter() < end:
            start = time.perf_counter()
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(requests[turn % len(requests)])
            turn += clients
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                sys.exit(f"expected an answer, found {head[:80]!r}")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length is not None
            await reader.readexactly(int(length[1]))
            waits.append(time.perf_counter() - start)
            if b"connection: close" in head.lower():
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return waits
