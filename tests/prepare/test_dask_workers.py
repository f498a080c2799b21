"""Co-occurrence counted by processes of a dask cluster: the bytes of one process, also if workers are killed."""

from __future__ import annotations

import fcntl
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from decorec.config.dask import DaskConfig
from decorec.config.prepare import GraphConfig
from decorec.config.root import load
from decorec.data.parts import leave_one_out
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.prepare import dask_workers
from decorec.prepare.cooccurrence import cooccurrence, count_pairs
from decorec.prepare.cooccurrence_parts import count_on_workers, read_part
from decorec.prepare.dask_code import CODE
from decorec.prepare.dask_workers import result_of, running, workers
from tests.support.disks import disk

ITEMS = 60
PRELOAD = """
import os, signal
from pathlib import Path
from distributed import WorkerPlugin

class Kill(WorkerPlugin):
    counted = 0

    def setup(self, worker):
        self.worker = worker

    def transition(self, key, start, finish, **kwargs):
        if finish == "executing" and "count_part" in str(key):
            self.counted += 1
            if self.counted > 3:
                if self.worker.data.spilled_total.disk and not os.path.exists({spilled!r}):
                    Path({spilled!r}).write_text(self.worker.local_directory)
                self.kill()

    def kill(self):
        told = "SIGKILL getpid"
        try:
            told = Path({armed!r}).read_text() or told
            os.unlink({armed!r})  # by the first of all workers alone
        except FileNotFoundError:
            if not os.path.exists({always!r}):
                return
        name, whom = told.split()
        os.kill(getattr(os, whom)(), getattr(signal, name))

async def dask_setup(worker):
    await worker.plugin_add(Kill())
"""
"""What a worker loads: after three of the tasks that count it dies with what it holds, if it is told to."""
SCHEDULER = """
import signal, sys
from distributed import LocalCluster

options = dict(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None)
with LocalCluster(**options, preload=[sys.argv[1]]) as cluster:
    print(cluster.scheduler_address, flush=True)
    signal.pause()
"""
"""A scheduler and its worker, in one process of their own."""
OTHER = """
import asyncio, distributed.versions as versions
from distributed import Scheduler

known = versions._version_cached
versions._version_cached = lambda name: "2024.1.0" if name == "distributed" else known(name)

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()

asyncio.run(main())
"""
"""A scheduler that says that it is of another release."""
FORGET = """
import sys
sys.kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "decorec"}
sys.modules["decorec"] = None
"""
"""After it a worker has no package of this name."""


def ragged(walks: list[list[int]]) -> Sequences:
    lengths = np.array([len(walk) for walk in walks])
    flat = np.array([item for walk in walks for item in walk], dtype=np.int32)
    users = [f"u{index}" for index in range(len(walks))]
    return Sequences(users, np.concatenate([[0], np.cumsum(lengths)]), flat, split=leave_one_out(lengths))


@dataclass
class Shop:
    """Files of a data set; ``armed``: the next worker that counts dies, or sends the signal that is written there to
    itself (``SIGSTOP getpid``) or to the step (``SIGKILL getppid``); ``always``: every one dies."""

    folder: Path
    expected: bytes

    @property
    def armed(self) -> Path:
        return self.folder / "armed"

    @property
    def always(self) -> Path:
        return self.folder / "always"

    @property
    def spilled(self) -> Path:
        """Its text: the folder of a worker that has written something to it."""
        return self.folder / "spilled"

    def preload(self) -> list[str]:
        return [PRELOAD.format(armed=str(self.armed), always=str(self.always), spilled=str(self.spilled))]

    def written(self) -> list[Path]:
        """The matrix, and anything that was begun of it."""
        return list(self.folder.glob("*s.npz*"))

    def count(self, scheduler: str | None, threads: int = 1) -> bytes:
        files = {name: self.folder / f"{name}.parquet" for name in ("vocab", "sequences")}
        target, section = self.folder / "s.npz", DaskConfig(scheduler=scheduler, memory=1)
        cooccurrence(settings=GraphConfig(top=9), **files, matrix=target, dask=section, threads=threads)
        return target.read_bytes()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    random = np.random.default_rng(0)
    found = Shop(tmp_path_factory.mktemp("shop"), b"")
    write_vocab(found.folder / "vocab.parquet", [f"i{index}" for index in range(ITEMS)])
    walks = [random.integers(0, ITEMS, random.integers(3, 40)).tolist() for _ in range(300)]
    ragged(walks).write(found.folder / "sequences.parquet")
    found.expected = found.count(None)
    return found


@pytest.fixture
def cluster(shop: Shop) -> Iterator[LocalCluster]:
    """A scheduler with a process, which the step knows by its address; each test has its own, since one that replaces a
    killed worker comes when it likes, and knows nothing of what a test told the others."""
    options: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 10**9, "dashboard_address": None}
    with LocalCluster(n_workers=1, preload=shop.preload(), **options) as cluster:
        yield cluster


def test_any_number_of_workers_gives_the_same_bytes_also_if_one_is_killed(shop: Shop, cluster: LocalCluster) -> None:
    for count in (1, 2, 4):
        cluster.scale(count)
        cluster.wait_for_workers(count)
        assert shop.count(cluster.scheduler_address) == shop.expected
    shop.armed.touch()
    assert shop.count(cluster.scheduler_address) == shop.expected
    assert not shop.armed.exists(), "a worker was killed"


def test_workers_that_cannot_count_are_told_in_one_sentence(
    shop: Shop, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop.folder / "s.npz").unlink(missing_ok=True)
    with pytest.raises(DecorecError, match=r"found a Worker of it; give the address of its scheduler"):
        shop.count(next(iter(cluster.scheduler.workers)))
    with Client(cluster, set_as_default=False) as client:
        client.run(exec, "import decorec.prepare.dask_code as known; known.kept, known.CODE = known.CODE, 'older'")
        with pytest.raises(DecorecError, match=r"expected decorec .* at worker tcp.*, found older; start it anew"):
            shop.count(cluster.scheduler_address)
        with monkeypatch.context() as patch:
            patch.setattr(dask_workers, "_ask_workers", lambda *_: None)  # as if they had come later
            with pytest.raises(
                DecorecError, match=r"^dask.scheduler: expected workers with .*, found older at .*start it"
            ):
                shop.count(cluster.scheduler_address)
        client.run(exec, "import decorec.prepare.dask_code as known; known.CODE = known.kept")
        client.run(exec, FORGET)
        with pytest.raises(DecorecError, match=r"expected the packages of decorec at worker tcp.*decorec.*; start it"):
            shop.count(cluster.scheduler_address)
        client.run(exec, "import sys; sys.modules.update(sys.kept)")
    cluster.scheduler.allowed_failures = 0
    shop.always.touch()
    with pytest.raises(DecorecError, match=r"found that one was lost each of 1 times, the last at tcp.*more memory"):
        shop.count(cluster.scheduler_address)
    shop.always.unlink()
    assert shop.written() == []


def test_local_starts_processes_that_spill_and_leave_nothing_also_if_one_or_the_step_is_killed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spill"))
    options = {"preload": shop.preload(), "memory.target": 1e-9}  # share of its memory above which a worker spills
    for key, value in options.items():
        monkeypatch.setenv(f"DASK_DISTRIBUTED__WORKER__{key.replace('.', '__').upper()}", repr(value))
    shop.armed.write_text("SIGKILL getppid")
    files = [f"--{name}={shop.folder / name}.parquet" for name in ("vocab", "sequences")]
    command = [sys.executable, "-m", "decorec", "cooccurrence", *files, f"--matrix={shop.folder / 'killed.npz'}"]
    section = DaskConfig(scheduler="local", memory=1).model_dump_json()
    killed = subprocess.run([*command, "--settings", "{}", "--dask", section], stderr=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = Path(shop.spilled.read_text())
    assert left.is_relative_to(tmp_path / "spill") and any((left / "storage").iterdir())
    with Path(f"{left}.dirlock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the worker has ended, too

    shop.armed.touch()
    shop.spilled.unlink()
    with dask.config.set({f"distributed.worker.{key}": value for key, value in options.items()}):
        assert shop.count("local", threads=2) == shop.expected
    assert not shop.armed.exists(), "a worker was killed"
    assert Path(shop.spilled.read_text()).is_relative_to(tmp_path / "spill")
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".lock"}, "one for all, and empty"


def test_local_needs_a_folder_for_what_does_not_fit(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(DecorecError, match=r"expected a folder .* that .*/file cannot be written .* another .* TMPDIR"):
        shop.count("local")


FEW = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
os.execv(sys.argv[1], sys.argv[1:])
"""
FEW_FILES = (sys.executable, "-c", FEW)
NO_NETWORK = ("unshare", "--net")
NOT_LET = "expected 2 processes that start, found that the system lets them not: "
REFUSED = [
    (
        FEW_FILES,
        r"expected that 2 processes may have \d\d files open, found a limit of 16 \(ulimit -n\); raise it, .*, or use",
    ),
    (NO_NETWORK, f"{NOT_LET}Network is unreachable; look"),
]


@pytest.mark.parametrize(("under", "message"), REFUSED, ids=["few files", "no network"])
def test_processes_that_the_system_does_not_let_start_are_told_in_one_sentence(
    under: tuple[str, ...], message: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if under == NO_NETWORK and subprocess.run([*under, "true"]).returncode:
        pytest.skip(f"needs the right to {' '.join(under)}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")
    files = [f"--{name}={shop.folder / name}.parquet" for name in ("vocab", "sequences")]
    command = [sys.executable, "-m", "decorec", "cooccurrence", *files, f"--matrix={tmp_path / 's.npz'}"]
    section = DaskConfig(scheduler="local", memory=1).model_dump_json()
    step = [*under, *command, "--settings", "{}", "--dask", section, "--threads", "2"]
    found = subprocess.run(step, stderr=subprocess.PIPE, text=True)
    *_, last = found.stderr.splitlines()
    assert found.returncode == 1 and re.search(rf"\(local\): {message}", last), found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "s.npz").exists()


def test_a_scheduler_that_is_lost_or_hangs_ends_the_step_and_the_next_one_counts_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_workers, "QUESTIONS", 1)
    (shop.folder / "s.npz").unlink(missing_ok=True)
    command = [sys.executable, "-c", SCHEDULER, *shop.preload()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scheduler:
        try:
            assert scheduler.stdout is not None
            address = scheduler.stdout.readline().strip()
            shop.armed.write_text("SIGSTOP getpid")
            with pytest.raises(DecorecError, match=r"expected a scheduler that answers .* found that it was lost; see"):
                shop.count(address)
            assert shop.written() == []
            scheduler.send_signal(signal.SIGCONT)
            assert shop.count(address) == shop.expected
            shop.armed.write_text("SIGKILL getpid")
            with pytest.raises(DecorecError, match=r"expected a scheduler that answers .* found that it was lost; see"):
                shop.count(address)
            assert shop.written() == [shop.folder / "s.npz"] and shop.count(None) == shop.expected
        finally:
            scheduler.kill()


def test_a_full_disk_stops_no_worker_whose_memory_is_enough(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with disk(tmp_path / "small", "size=64k") as small, dask.config.set({"distributed.worker.memory.target": 1e-9}):
        with LocalCluster(n_workers=1, dashboard_address=None, local_directory=str(small), **options) as cluster:
            with suppress(OSError), (small / "everything").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            assert shop.count(cluster.scheduler_address) == shop.expected
        assert "Spill to disk failed" in caplog.text


@pytest.mark.parametrize(
    ("paused", "found"),
    [
        (0, r"; start some, with the same environment as this step and enough memory, and run the same command again"),
        (1, r", as 1 of 2 wait for memory; give them more .* the disk if it is full \(127.0.0.1:/.*\), and run the"),
    ],
)
def test_workers_that_leave_or_pause_for_good_end_the_step(
    paused: int, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task is for a worker that leaves, and was given to one that pauses, beside another one.

    Both are in this process, whose memory counts as theirs: the limit, which Dask cuts to what the machine has, is far.
    """
    options: dict[str, Any] = {"threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with (
        LocalCluster(n_workers=1 + paused, dashboard_address=None, memory_limit=10**12, **options) as cluster,
        pytest.raises(DecorecError, match=rf"expected a worker that counts, found none for 1 s{found}"),
        workers(DaskConfig(scheduler=cluster.scheduler_address), 1) as client,
    ):
        first = cluster.workers[0]
        if paused:
            first.memory_manager.memory_pause_fraction = 0.001
        else:
            cluster.scale(0)
        while len(running(client)) > paused:
            time.sleep(0.05)
        monkeypatch.setattr(dask_workers, "SECONDS_TO_ANSWER", 1)
        monkeypatch.setattr(dask_workers, "SECONDS_TO_COME", 1)
        result_of(client, client.submit(sum, [1], workers=[first.address]))


@pytest.mark.parametrize(
    ("greeting", "seconds", "found"),
    [(b"", 1, "nobody answers"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", 60, "another program listens there")],
)
def test_an_address_where_something_else_listens(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, greeting: bytes, seconds: int, found: str
) -> None:
    monkeypatch.setattr(dask_workers, "SECONDS_TO_ANSWER", seconds)

    class Greet(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(greeting)
            self.request.recv(10**6)
            self.request.recv(10**6)  # until the other one ends

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(DecorecError, match=rf"expected a scheduler of dask .* found none \({found}\); start it"):
            shop.count("tcp://{}:{}".format(*server.server_address))
        server.shutdown()


@pytest.fixture(scope="module")
def within() -> Iterator[Client]:
    """A cluster of one thread of this process."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=12), min_size=1, max_size=8),
    st.sampled_from(["all", 1, 3]),
    st.sampled_from([None, 1, 3]),
    st.integers(1, 30),
    st.integers(1, 60),
)
@settings(deadline=None, max_examples=20)
def test_parts_and_blocks_of_any_size_give_the_same_matrix(
    within: Client,
    tmp_path_factory: pytest.TempPathFactory,
    walks: list[list[int]],
    window: Any,
    top: int | None,
    part: int,
    block: int,
) -> None:
    """Also of users with no item in the training part."""
    sequences = ragged(walks)
    file = tmp_path_factory.mktemp("walks") / "sequences.parquet"
    sequences.write(file)
    graph = GraphConfig(window=window, top=top)
    expected = count_pairs(sequences.training(), 7, graph)
    found, interactions = count_on_workers(within, file, 7, graph, part=part, block=block)
    for name in ("indptr", "indices", "data"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()
    assert interactions.tolist() == np.bincount(sequences.training().items, minlength=7).tolist()


def test_the_section_knows_addresses_and_what_its_processes_take() -> None:
    assert DaskConfig(scheduler="local", memory=3).beside(threads=2) == 6
    assert DaskConfig(scheduler="tcp://node7:8786").beside(threads=2) == DaskConfig().beside(threads=2) == 0
    for wrong in ("node7:8786", "http://node7:8786", "tcp://node7", "LOCAL"):
        with pytest.raises(DecorecError, match=r"dask.scheduler: .*pattern.*, found '"):
            load({"datasets": {"sample": {"source": "sample"}}, "dask": {"scheduler": wrong}})


def test_a_worker_refuses_what_it_does_not_see_and_items_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "sequences.parquet"
    with pytest.raises(DecorecError, match=r"sequences.parquet: expected that the workers .* see this file"):
        read_part(CODE, file, 0, 1, 3, 1)
    ragged([[0, 5, 1, 1]]).write(file)
    with pytest.raises(DecorecError, match=r"sequences.parquet: expected item indices below 3, found 5; run the split"):
        read_part(CODE, file, 0, 1, 3, 1)


def test_a_scheduler_that_is_not_there_or_has_no_worker_or_is_another_release(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_workers, "SECONDS_TO_ANSWER", 1)
    monkeypatch.setattr(dask_workers, "SECONDS_TO_COME", 0.1)
    with pytest.raises(DecorecError, match=r"dask.scheduler \(tcp://127.0.0.1:9\): expected a scheduler .* found none"):
        shop.count("tcp://127.0.0.1:9")
    monkeypatch.setattr(dask_workers, "SECONDS_TO_ANSWER", 60)
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=None) as empty,
        pytest.raises(DecorecError, match=r"expected a worker within 0.1 s, found none; start some: dask worker tcp"),
    ):
        shop.count(empty.scheduler_address)
    with subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            address = other.stdout.readline().strip()
            with pytest.raises(
                DecorecError, match=r"expected a scheduler with distributed .*, as here, found distributed 2024.1.0"
            ):
                shop.count(address)
        finally:
            other.kill()
