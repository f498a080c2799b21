"""Threads that take addresses from the queue, fetch, verify and keep pictures, and note how each address ended."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue

from decorec.config import CrawlConfig
from decorec.crawl.fetch import host_of
from decorec.crawl.journal import Journal
from decorec.crawl.local import identity, read_picture
from decorec.crawl.outcome import Outcome, PictureError, Status
from decorec.crawl.pictures import Store
from decorec.crawl.plan import Plan
from decorec.crawl.politeness import Job, Queue
from decorec.crawl.visit import Visitor
from decorec.http import HostMap, backoff
from decorec.progress import progress

__all__ = ["Crew"]

LOCAL = ""
"""Name under which the queue knows the local disk."""
INVALID = "?"
"""Name under which the queue knows addresses without a host."""
SECONDS_BETWEEN_BEATS = 30.0
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

log = logging.getLogger("decorec")


class Crew:
    """The threads and what they work with. ``histogram`` counts ends by class, ``seconds`` is the time they took."""

    def __init__(
        self, config: CrawlConfig, store: Store, journal: Journal, connect_to: HostMap, folder: Path | None
    ) -> None:
        """``connect_to``: hosts that are ours, without limits; ``folder``: where local files lie, if there are any."""
        self.histogram: Counter[str] = Counter()
        self.seconds = 0.0
        self._config = config
        self._store = store
        self._journal = journal
        self._folder = folder
        self._unlimited = {LOCAL, INVALID, *connect_to}
        self._queue = Queue(config, self._unlimited)
        self._visitor = Visitor(config, connect_to, self._queue)
        self._results: SimpleQueue[tuple[Job, Outcome] | BaseException] = SimpleQueue()

    def paced(self, addresses: Iterable[str]) -> float:
        """Seconds that crawl.rate imposes on fetching ``addresses``, which go to their hosts side by side."""
        hosts = Counter(host for address in addresses if (host := self._host(address)) not in self._unlimited)
        return max(hosts.values(), default=0) / self._config.rate

    def work(self, plan: Plan) -> Collection[str]:
        """Ask for every address that ``plan`` needs; returns those that earlier runs had settled."""
        known = self._known(plan.addresses)
        threads = [
            threading.Thread(target=self._loop, name=f"crawl-{number}", daemon=True)
            for number in range(self._config.concurrency)
        ]
        for thread in threads:
            thread.start()
        try:
            self._follow(plan, known)
        finally:
            self._queue.finish()
            self._visitor.close()
            for thread in threads:
                thread.join()
        return known.keys()

    def _known(self, addresses: Iterable[str]) -> dict[str, Outcome]:
        """Outcomes of earlier runs that still hold; an ok one only if its picture is still stored."""
        keys = {address: self._key(address) for address in addresses}
        recorded = self._journal.read(keys.values())
        result = {}
        for address, key in keys.items():
            outcome = recorded.get(key)
            if outcome is None or (outcome.status == "ok" and not self._store.knows(outcome)):
                continue
            result[address] = outcome
        return result

    def _follow(self, plan: Plan, known: dict[str, Outcome]) -> None:
        """The main thread's part: hand out addresses, take in outcomes, say how it goes."""
        items = len(plan)
        pending = self._put(plan.start(known))
        beat = time.monotonic()
        with progress("crawl", items, unit="items") as advance:
            advance(settled := plan.settled)
            while pending:
                result = self._result(timeout=1.0)
                if result is not None:
                    job, outcome = result
                    self._count(job, outcome)
                    pending += self._put(plan.record(job.url, outcome)) - 1
                    advance(plan.settled - settled)
                    settled = plan.settled
                if time.monotonic() - beat > SECONDS_BETWEEN_BEATS:
                    beat = time.monotonic()
                    counts = ", ".join(f"{name} {count}" for name, count in self.histogram.most_common())
                    log.info("crawl: %d of %d items settled, %d addresses in hand; %s", settled, items, pending, counts)

    def _result(self, timeout: float) -> tuple[Job, Outcome] | None:
        try:
            result = self._results.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(result, BaseException):
            raise result
        return result

    def _count(self, job: Job, outcome: Outcome) -> None:
        self.histogram[outcome.error or "ok"] += 1
        self.seconds += time.monotonic() - job.started

    def _put(self, addresses: Iterable[str]) -> int:
        jobs = [Job(address, self._host(address)) for address in addresses]
        for job in jobs:
            self._queue.put(job)
        return len(jobs)

    def _host(self, address: str) -> str:
        if self._is_local(address):
            return LOCAL
        try:
            return host_of(address)
        except PictureError:
            return INVALID

    def _is_local(self, address: str) -> bool:
        return self._folder is not None and not URL.match(address)

    def _key(self, address: str) -> str:
        """What the journal knows ``address`` by."""
        return identity(self._folder, address) if self._folder and self._is_local(address) else address

    def _loop(self) -> None:
        try:
            while (job := self._queue.take()) is not None:
                outcome = self._attempt(job)
                if outcome is not None:
                    self._journal.append(self._key(job.url), outcome)
                    self._results.put((job, outcome))
        except BaseException as error:  # handed to the main thread, which raises it
            self._results.put(error)

    def _attempt(self, job: Job) -> Outcome | None:
        """One try at ``job``; None if it goes back into the queue for another one."""
        if not job.started:
            job.started = time.monotonic()
            job.end = job.started + self._config.deadline
        try:
            body, http_status = self._body(job)
        except PictureError as failure:
            return self._failed(job, failure)
        finally:
            self._queue.release(job)
        self._queue.report(job.host, transient=False)
        return replace(self._store.add(body), http_status=http_status, attempts=job.attempts)

    def _body(self, job: Job) -> tuple[bytes, int | None]:
        if self._queue.is_closed(job.host):
            raise job.failure or PictureError("host-unavailable", permanent=False)
        if job.failure is not None and time.monotonic() >= job.end:
            raise job.failure
        job.attempts += 1
        if job.host == LOCAL:
            assert self._folder is not None
            return read_picture(self._folder, job.url, self._config.max_bytes), None
        if job.host == INVALID:
            raise PictureError("bad-url", permanent=True)
        answer = self._visitor.picture(job.url, job.end)
        return answer.body, answer.status

    def _failed(self, job: Job, failure: PictureError) -> Outcome | None:
        if failure.wait is not None:
            self._queue.pause(failure.host, failure.wait)
        if not failure.permanent and job.attempts < self._config.attempts and not self._queue.is_closed(job.host):
            delay = max(backoff(job.attempts, random.Random(f"{job.url} {job.attempts}")), failure.wait or 0.0)
            if time.monotonic() + delay < job.end:
                job.failure = failure
                self._queue.put(job, delay)
                return None
        if job.host != LOCAL:
            self._queue.report(job.host, transient=not failure.permanent)
        status: Status = "permanent" if failure.permanent else "transient"
        return Outcome(status, failure.error, failure.http_status, job.attempts)
