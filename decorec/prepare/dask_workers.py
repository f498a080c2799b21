"""The workers of a dask cluster: processes of this machine, or those of a running scheduler."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import decorec
from decorec.config.dask import DaskConfig
from decorec.errors import DecorecError

__all__ = ["workers"]

log = logging.getLogger("decorec")
SECONDS_TO_ANSWER = 10
"""Time that a scheduler has to answer."""
SECONDS_TO_COME = 600
"""Time that its first worker has to come: a cluster may have to start it."""
PROBE = "__import__('decorec.prepare.cooccurrence_parts') and __import__('decorec').__version__"
"""Told as text: a worker that is sent a function of a package which it does not have closes without an answer."""


@contextmanager
def workers(settings: DaskConfig, processes: int) -> Iterator[Any]:
    """A client of the scheduler that ``settings`` names, one of whose workers is there; ends what it has started.

    Args:
        settings: the section dask of the configuration, with a scheduler.
        processes: number of processes to start, of one thread each; for ``local``.

    Raises:
        DecorecError: the scheduler does not answer, it or a worker has other versions, no worker comes, or workers are
            lost again and again.
    """
    from distributed import CancelledError, Client, KilledWorker, LocalCluster

    place = f"dask.scheduler ({settings.scheduler})"
    try:
        if settings.scheduler == "local":
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                memory_limit=int(settings.memory * 1e9),
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # it has a port for that in any case
            )
            with cluster, Client(cluster, set_as_default=False) as client:
                yield client
        else:
            with _connected(str(settings.scheduler), place) as client:
                yield client
    except KilledWorker as error:
        raise DecorecError(
            f"{place}: expected workers that live until their part is counted, found that one was lost each of "
            f"{error.allowed_failures + 1} times, the last at {error.last_worker.address}; give them more memory "
            "(dask.memory, for local), or see their logs"
        ) from error
    except CancelledError as error:
        raise DecorecError(
            f"{place}: expected a scheduler that lives until everything is counted, found that it was lost; see its "
            "log, and run the same command again"
        ) from error


@contextmanager
def _connected(address: str, place: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        raise DecorecError(
            f"{place}: expected a scheduler of dask that answers within {SECONDS_TO_ANSWER} s, found none ({error}); "
            "start it, or correct the address"
        ) from error
    with client:
        versions = client.get_versions()
        _expect_versions(f"{place}: expected a scheduler", versions["scheduler"], versions["client"])
        if not versions["workers"]:
            log.info("%s: waiting for its first worker", place)
            try:
                client.wait_for_workers(1, timeout=SECONDS_TO_COME)
            except TimeoutError as error:
                raise DecorecError(
                    f"{place}: expected a worker within {SECONDS_TO_COME} s, found none; start some: dask worker "
                    f"{address}"
                ) from error
            versions = client.get_versions()
        for worker, found in versions["workers"].items():
            _expect_versions(f"{place}: expected a worker at {worker}", found, versions["client"])
        for worker, answer in client.run(eval, PROBE, on_error="return").items():
            if isinstance(answer, ImportError):
                raise DecorecError(
                    f"{place}: expected the packages of decorec at worker {worker}, found that it cannot import them "
                    f"({answer}); start it with the same environment as this step"
                )
            if answer != decorec.__version__:
                raise DecorecError(
                    f"{place}: expected decorec {decorec.__version__} at worker {worker}, found {answer}; start it "
                    "with the same environment as this step"
                )
        yield client


def _expect_versions(expected: str, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name in ("python", "dask", "distributed"):
        there, here = (_version(side["packages"][name], name) for side in (found, own))
        if there != here:
            raise DecorecError(
                f"{expected} with {name} {here}, as here, found {name} {there}; start it with the same environment"
            )


def _version(version: str, name: str) -> str:
    """A release; of Python without what does not change how it talks to others."""
    return ".".join(version.split(".")[:2]) if name == "python" else version
