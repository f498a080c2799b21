"""The workers of a dask cluster: processes of this machine, or those of a running scheduler.

Nothing here waits without an end: a scheduler or workers that are lost, or do not answer, are an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from decorec.config.dask import DaskConfig
from decorec.errors import MISHAPS, DecorecError, causes

__all__ = ["result_of", "running", "workers"]

log = logging.getLogger("decorec")
SECONDS_TO_ANSWER = 10
"""Time that a scheduler has to answer."""
QUESTIONS = 6
"""So often it may fail to, once it has answered: it may be busy, or this machine asleep."""
SECONDS_TO_COME = 600
"""Time that workers have to come, to come again, and to tell their versions: a cluster may have to start them."""
MODULES = "decorec.prepare.cooccurrence_parts", "decorec.prepare.dask_code"
PROBE = f"[__import__(name, fromlist=['any']) for name in {MODULES}][-1].CODE"
"""Told as text: a worker that is sent a function of a package which it does not have closes without an answer."""
OPEN_FILES = 32, 12
"""Files that a cluster of this machine has open in this process, at most: beside those that are open already, and for
each process that it starts; each of these has some twenty."""
SAME = "start it anew, with the same environment as this step"
AGAIN = "and run the same command again"


class _UnusableError(Exception):
    """What was expected of the cluster, what was found and what to do."""


@contextmanager
def workers(settings: DaskConfig, processes: int) -> Iterator[Any]:
    """A client of the scheduler that ``settings`` names, one of whose workers is there; ends what it has started.

    Args:
        settings: the section dask of the configuration, with a scheduler.
        processes: number of processes to start, of one thread each; for ``local``.

    Raises:
        DecorecError: the scheduler does not answer or is none, it or a worker has another version, no worker comes or
            stays, workers are lost again and again, or the processes have no folder for what does not fit, or cannot be
            started.
    """
    from distributed import CancelledError, KilledWorker
    from distributed.client import ClosedClientError
    from distributed.comm import CommClosedError
    from distributed.scheduler import NoWorkerError

    local = settings.scheduler == "local"
    try:
        with _started(settings, processes) if local else _connected(str(settings.scheduler)) as client:
            yield client
    except KilledWorker as error:
        more = "more memory (dask.memory)" if local else "more memory, or fewer threads each"
        problem: Exception = error
        told = (
            "expected workers that live until their part is counted, found that one was lost each of "
            f"{error.allowed_failures + 1} times, the last at {error.last_worker.address}; give them {more}, or let "
            "them count fewer pairs (graph.window); their logs may tell more"
        )
    except (CancelledError, ClosedClientError, CommClosedError, TimeoutError) as error:
        problem = error
        told = (
            "expected a scheduler that answers until everything is counted, found that it was lost; see its log, start "
            f"it and its workers anew, {AGAIN}"
        )
    except NoWorkerError as error:  # of a scheduler that is told to wait for less time than this step
        problem, told = error, _nobody([], error.timeout)
    except _UnusableError as error:
        problem, told = error, str(error)
    else:
        return
    raise DecorecError(f"dask.scheduler ({settings.scheduler}): {told}") from problem


def result_of(client: Any, future: Any) -> Any:
    """The result of ``future``; an error if the scheduler does not answer meanwhile, or no worker counts for long."""
    # One request to the end: a large result may take longer than a scheduler has to answer.
    result = asyncio.run_coroutine_threadsafe(client.gather(future, asynchronous=True), client.loop.asyncio_loop)
    idle = 0
    while True:
        try:
            return result.result(timeout=SECONDS_TO_ANSWER)
        except TimeoutError:
            if result.done():
                raise
        known = _known(client)
        idle = 0 if any(_counts(worker) for worker in known) else idle + 1
        if idle * SECONDS_TO_ANSWER >= SECONDS_TO_COME:
            raise _UnusableError(_nobody(known, SECONDS_TO_COME))


def running(client: Any) -> list[Mapping[str, Any]]:
    """What the scheduler knows of each worker that runs."""
    return [worker for worker in _known(client) if worker["status"] == "running"]


def _known(client: Any) -> list[Mapping[str, Any]]:
    """What the scheduler knows of each worker."""
    for _ in range(QUESTIONS):
        if client.status != "running":
            break
        try:
            found = client.sync(client.scheduler.identity, callback_timeout=SECONDS_TO_ANSWER)
            return list(found["workers"].values())
        except OSError:
            log.info("%s does not answer", client.scheduler)
    raise TimeoutError("no answer")


def _counts(worker: Mapping[str, Any]) -> bool:
    """Whether a worker runs, and computes something or gets what it needs from another one.

    One that runs may do neither: it waits for what another one has begun, and which is paused for good.
    """
    tasks = worker["metrics"].get("task_counts", {})
    return worker["status"] == "running" and bool(tasks.get("executing") or tasks.get("flight"))


def _nobody(known: list[Mapping[str, Any]], seconds: float) -> str:
    """That no worker counts, of those which are there."""
    paused = [worker for worker in known if worker["status"] == "paused"]
    if not paused:
        return (
            f"expected a worker that counts, found none for {seconds:g} s; start some, with the same environment "
            f"as this step and enough memory, {AGAIN}"
        )
    folders = ", ".join(sorted({f"{worker['host']}:{Path(worker['local_directory']).parent}" for worker in paused}))
    return (
        f"expected a worker that counts, found none for {seconds:g} s, as {len(paused)} of {len(known)} wait for "
        f"memory; give them more of it, or free some space on the disk if it is full ({folders}), {AGAIN}"
    )


@contextmanager
def _started(settings: DaskConfig, processes: int) -> Iterator[Any]:
    """A client of processes that this one starts and ends."""
    import dask
    from distributed import Client, LocalCluster

    _expect_open_files(processes)
    own = {
        "temporary-directory": str(_folder(dask.config.get("temporary-directory", None))),
        # Or a process that takes longer to start anew is given up for good.
        "distributed.deploy.lost-worker-timeout": SECONDS_TO_COME,
    }
    with dask.config.set(own), ExitStack() as stack:
        try:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=processes,
                    threads_per_worker=1,
                    memory_limit=int(settings.memory * 1e9),
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # it has a port for that in any case
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError) as error:
            chain = [*causes(error)]
            said = next((link for link in chain if isinstance(link, OSError) and link.errno), chain[-1])
            told = said.strerror if isinstance(said, OSError) and said.errno else f"{error} ({said})"
            cause, remedy = MISHAPS.get(getattr(said, "errno", None) or 0, (told, "look into the system's log"))
            raise _UnusableError(
                f"expected {processes} processes that start, found that the system lets them not: {cause}; {remedy}, "
                f"or use fewer threads, {AGAIN}"
            ) from error
        yield client


def _expect_open_files(processes: int) -> None:
    """Refuse a limit that a cluster would reach: it would wait for what it cannot open, about a minute."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    beside, each = OPEN_FILES
    needed = len([*Path("/dev/fd").iterdir()]) + beside + each * processes
    if most != resource.RLIM_INFINITY and most < needed:
        raise _UnusableError(
            f"expected that {processes} processes may have {needed} files open, found a limit of {most} (ulimit -n); "
            f"raise it, such as by `ulimit -n {max(4096, needed)}`, or use fewer threads, {AGAIN}"
        )


def _folder(named: str | None) -> Path:
    """Where processes write what does not fit into their memory: never the working directory because others fail."""
    folder = Path(named or os.environ.get("TMPDIR") or "/tmp").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _UnusableError(
            f"expected a folder for what does not fit into the memory, found that {folder} cannot be written "
            f"({error.strerror}); name another one by TMPDIR or DASK_TEMPORARY_DIRECTORY"
        ) from error
    return folder


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from distributed import Client

    own = _ask_scheduler(address)
    with Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False) as client:
        if not running(client):
            log.info("dask.scheduler (%s): waiting for its first worker", address)
            end = time.monotonic() + SECONDS_TO_COME
            while not running(client):
                if time.monotonic() > end:
                    raise _UnusableError(
                        f"expected a worker within {SECONDS_TO_COME} s, found none; start some: dask worker {address}"
                    )
                time.sleep(min(1, SECONDS_TO_COME))
        _ask_workers(client, own)
        yield client


def _ask_scheduler(address: str) -> Mapping[str, Any]:
    """The versions here, which are those of the scheduler."""
    from distributed.core import rpc
    from distributed.versions import get_versions

    async def ask() -> tuple[Any, Any]:
        async with rpc(address) as there:
            who = await there.identity()
            return who["type"], await there.versions() if who["type"] == "Scheduler" else None

    try:
        kind, found = asyncio.run(asyncio.wait_for(ask(), SECONDS_TO_ANSWER))
    except Exception as error:  # who is no scheduler may send anything, which is read as numbers and names
        silent = "nobody answers" if isinstance(error, TimeoutError) else f"{error.__cause__ or error}"
        raise _UnusableError(
            f"expected a scheduler of dask that answers within {SECONDS_TO_ANSWER} s, found none "
            f"({silent if isinstance(error, OSError) else 'another program listens there'}); start it, or correct the "
            "address"
        ) from error
    if kind != "Scheduler":
        raise _UnusableError(f"expected a scheduler of dask, found a {kind} of it; give the address of its scheduler")
    own: Mapping[str, Any] = get_versions()
    _expect_versions("a scheduler", found, own)
    return own


def _ask_workers(client: Any, own: Mapping[str, Any]) -> None:
    """Every worker that is there has the versions of this process; one that comes later is asked by its tasks."""
    from decorec.prepare.dask_code import CODE

    bounded = {"callback_timeout": SECONDS_TO_COME}
    message = {"op": "versions", "packages": []}
    try:
        versions = client.sync(client.scheduler.broadcast, msg=message, on_error="ignore", **bounded)
        for worker, found in versions.items():
            _expect_versions(f"a worker at {worker}", found, own)
        codes = client.run(eval, PROBE, on_error="return", **bounded)
    except TimeoutError as error:
        raise _UnusableError(
            f"expected that all workers tell their versions within {SECONDS_TO_COME} s, found that one does not; end "
            f"those that hang, {AGAIN}"
        ) from error
    for worker, code in codes.items():
        if isinstance(code, ImportError):
            raise _UnusableError(
                f"expected the packages of decorec at worker {worker}, found that it cannot import them ({code}); "
                f"{SAME}"
            )
        if code != CODE and not isinstance(code, OSError):  # which is one that has left
            raise _UnusableError(f"expected decorec {CODE} at worker {worker}, found {code}; {SAME}")


def _expect_versions(who: str, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name in ("python", "dask", "distributed"):
        there, here = (_version(side["packages"][name], name) for side in (found, own))
        if there != here:
            raise _UnusableError(f"expected {who} with {name} {here}, as here, found {name} {there}; {SAME}")


def _version(version: str, name: str) -> str:
    """A release; of Python without what does not change how it talks to others."""
    return ".".join(version.split(".")[:2]) if name == "python" else version
