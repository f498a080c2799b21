"""Decides which address is fetched next: a queue with a rate limit and a concurrency limit per host."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from decorec.acquire.crawl.outcome import PictureError
from decorec.config.acquire import CrawlConfig

__all__ = ["HostQueue", "Job"]

STRIKES = 100
"""After this many transient failures in a row, the other addresses of a host are left for a later run."""


@dataclass(slots=True)
class Job:
    """One address to fetch: its host, attempts so far, start of the first one, deadline, last failure."""

    url: str
    host: str
    attempts: int = 0
    started: float = 0.0
    end: float = 0.0
    failure: PictureError | None = None


@dataclass(slots=True)
class _Host:
    interval: float
    slots: int
    free_at: float = 0.0
    paused_until: float = 0.0
    in_flight: int = 0
    strikes: int = 0
    closed: bool = False
    listed_at: float = math.inf
    fresh: deque[Job] = field(default_factory=deque)
    retries: list[tuple[float, int, Job]] = field(default_factory=list)

    def ready_at(self) -> float:
        """When the next job may be handed out; infinity if there is no job or no free slot."""
        if not (self.fresh or self.retries) or (self.in_flight >= self.slots and not self.closed):
            return math.inf
        if self.closed:
            return 0.0
        earliest = max(self.free_at, self.paused_until)
        return earliest if self.fresh else max(earliest, self.retries[0][0])

    def pop(self, now: float) -> Job:
        """The next job: a retry that is due, else a new one."""
        if self.retries and (self.retries[0][0] <= now or not self.fresh):
            return heapq.heappop(self.retries)[2]
        return self.fresh.popleft()


class HostQueue:
    """Hands out jobs to worker threads and keeps to the limits of each host.

    Every host has a token bucket (one token every 1 / crawl.rate seconds, as many as crawl.per_host saved up) and at
    most crawl.per_host jobs in flight. Hosts in ``unlimited`` have neither.
    """

    def __init__(self, config: CrawlConfig, unlimited: Collection[str] = ()) -> None:
        self._config = config
        self._unlimited = unlimited
        self._hosts: dict[str, _Host] = {}
        self._ready: list[tuple[float, int, _Host]] = []
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._over = threading.Event()

    def put(self, job: Job, delay: float = 0.0) -> None:
        """Add ``job``; with a delay (seconds) it is a retry, which goes before new jobs once it is due."""
        with self._condition:
            host = self._host(job.host)
            if delay:
                heapq.heappush(host.retries, (time.monotonic() + delay, next(self._numbers), job))
            else:
                host.fresh.append(job)
            self._list(host)

    def take(self) -> Job | None:
        """Wait for the next job that may start; None when the queue has ended."""
        with self._condition:
            while not self._over.is_set():
                now = time.monotonic()
                wait = self._ready[0][0] - now if self._ready else None
                if wait is not None and wait <= 0:
                    job = self._pop(now)
                    if job is not None:
                        return job
                    continue
                self._condition.wait(wait)
        return None

    def release(self, job: Job) -> None:
        """Give back the slot that ``job`` held at its host."""
        with self._condition:
            host = self._hosts[job.host]
            host.in_flight -= 1
            self._list(host)

    def pace(self, name: str, end: float) -> None:
        """Wait for a token of host ``name`` outside the queue (for a redirect), until ``end`` at most."""
        with self._condition:
            host = self._host(name)
            ready = max(host.paused_until, host.free_at)
            self._spend(host, time.monotonic())
        self.sleep(min(ready, end))

    def sleep(self, until: float) -> None:
        """Wait until ``until`` (time.monotonic()) or the end of the queue."""
        self._over.wait(max(0.0, until - time.monotonic()))

    def pause(self, name: str, seconds: float) -> None:
        """Send nothing to host ``name`` for ``seconds``; a pause longer than crawl.deadline closes it for this run."""
        with self._condition:
            host = self._host(name)
            if seconds > self._config.deadline:
                host.closed = True
                self._list(host)
            else:
                host.paused_until = max(host.paused_until, time.monotonic() + seconds)

    def slow_down(self, name: str, seconds: float) -> None:
        """Leave at least ``seconds`` between requests to host ``name``."""
        with self._condition:
            host = self._host(name)
            host.interval = max(host.interval, seconds)

    def report(self, name: str, transient: bool) -> None:
        """Record how an address of host ``name`` ended; many transient failures in a row close it for this run."""
        with self._condition:
            host = self._host(name)
            host.strikes = host.strikes + 1 if transient else 0
            host.closed |= host.strikes >= STRIKES
            self._list(host)

    def is_closed(self, name: str) -> bool:
        """Whether host ``name`` gets no more requests in this run."""
        with self._condition:
            return self._host(name).closed

    def finish(self) -> None:
        """Let every ``take`` return None."""
        with self._condition:
            self._over.set()
            self._condition.notify_all()

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            free = name in self._unlimited
            config = self._config
            host = _Host(0.0 if free else 1.0 / config.rate, config.concurrency if free else config.per_host)
            self._hosts[name] = host
        return host

    def _list(self, host: _Host) -> None:
        """Note when ``host`` is ready, unless an earlier time is noted; it is checked again at that time."""
        ready = host.ready_at()
        if ready < host.listed_at:
            host.listed_at = ready
            heapq.heappush(self._ready, (ready, next(self._numbers), host))
            self._condition.notify()

    def _pop(self, now: float) -> Job | None:
        """A job of the host that is noted first; None if that host is not ready after all."""
        noted, _, host = heapq.heappop(self._ready)
        if noted == host.listed_at:
            host.listed_at = math.inf
        job = None
        if host.ready_at() <= now:
            job = host.pop(now)
            host.in_flight += 1
            self._spend(host, now)
        self._list(host)
        return job

    def _spend(self, host: _Host, now: float) -> None:
        host.free_at = max(host.free_at, now - (host.slots - 1) * host.interval) + host.interval
