"""Co-occurrence counted by processes of a dask cluster: the bytes of one process, also if workers are killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
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

ITEMS = 60
PRELOAD = """
import os, signal
from pathlib import Path
from distributed import WorkerPlugin

class Kill(WorkerPlugin):
    counted = 0

    def transition(self, key, start, finish, **kwargs):
        if finish == "executing" and "count_part" in str(key):
            self.counted += 1
            if self.counted > 3 and self.armed():
                os.kill(os.getpid(), signal.SIGKILL)

    def armed(self):
        try:
            os.unlink({armed!r})  # by the first of all workers alone
        except FileNotFoundError:
            return os.path.exists({always!r})
        return True

async def dask_setup(worker):
    await worker.plugin_add(Kill())
"""
"""What a worker loads: after three of the tasks that count it dies with what it holds, if it is told to."""
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


def ragged(walks: list[list[int]]) -> Sequences:
    lengths = np.array([len(walk) for walk in walks])
    flat = np.array([item for walk in walks for item in walk], dtype=np.int32)
    users = [f"u{index}" for index in range(len(walks))]
    return Sequences(users, np.concatenate([[0], np.cumsum(lengths)]), flat, split=leave_one_out(lengths))


@dataclass
class Shop:
    """Files of a data set; ``armed``: the next worker that counts dies; ``always``: every one does."""

    folder: Path
    expected: bytes

    @property
    def armed(self) -> Path:
        return self.folder / "armed"

    @property
    def always(self) -> Path:
        return self.folder / "always"

    def preload(self) -> list[str]:
        return [PRELOAD.format(armed=str(self.armed), always=str(self.always))]

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


@pytest.fixture(scope="module")
def cluster(shop: Shop) -> Iterator[LocalCluster]:
    """A scheduler with processes, which the step knows by its address."""
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


def test_workers_that_cannot_count_are_told_in_one_sentence(shop: Shop, cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as client:
        client.run(exec, "import sys; sys.modules['decorec'] = None")
        with pytest.raises(DecorecError, match=r"expected the packages of decorec at worker tcp.*decorec.*; start it"):
            shop.count(cluster.scheduler_address)
        client.run(exec, "import sys; del sys.modules['decorec']")
    cluster.scheduler.allowed_failures = 0
    shop.always.touch()
    with pytest.raises(DecorecError, match=r"found that one was lost each of 1 times, the last at tcp.*more memory"):
        shop.count(cluster.scheduler_address)


def test_local_starts_processes_and_survives_the_loss_of_one(shop: Shop) -> None:
    shop.always.unlink(missing_ok=True)
    shop.armed.touch()
    with dask.config.set({"distributed.worker.preload": shop.preload()}):
        assert shop.count("local", threads=2) == shop.expected
    assert not shop.armed.exists(), "a worker was killed"


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
        read_part(file, 0, 1, 3, 1)
    ragged([[0, 5, 1, 1]]).write(file)
    with pytest.raises(DecorecError, match=r"sequences.parquet: expected item indices below 3, found 5; run the split"):
        read_part(file, 0, 1, 3, 1)


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
