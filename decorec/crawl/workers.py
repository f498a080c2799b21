"""Threads that take addresses from the queue, fetch, verify and keep pictures, and note how each address ended."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue

from decorec.config import CrawlConfig
from decorec.crawl.fetch import Fetcher, host_of, opted_out
from decorec.crawl.journal import Journal
from decorec.crawl.local import identity, read_picture
from decorec.crawl.outcome import Outcome, PictureError, Status
from decorec.crawl.pictures import Store
from decorec.crawl.plan import Plan
from decorec.crawl.politeness import Job, Queue
from decorec.crawl.robots import Robots
from decorec.http import HostMap, backoff
from decorec.progress import progress

__all__ = ["Crew"]

LOCAL = ""
"""Name under which the queue knows the local disk."""
INVALID = "?"
"""Name under which the queue knows addresses without a host."""
SECONDS_BETWEEN_BEATS = 30.0
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
Result = tuple[str, Outcome] | BaseException


log = logging.getLogger("decorec")


class Crew:
    """A queue, the threads that work it off, and what they need."""

    def __init__(
        self, config: CrawlConfig, store: Store, journal: Journal, connect_to: HostMap, folder: Path | None
    ) -> None:
        """``connect_to``: hosts that are ours, without limits; ``folder``: where local files lie, if there are any."""
        self._config = config
        self._store = store
        self._journal = journal
        self._folder = folder
        self._queue = Queue(config, {LOCAL, INVALID, *connect_to})
        self._fetcher = Fetcher(config, connect_to, self._before_hop)
        self._agent = config.user_agent.partition("/")[0].strip().lower()
        self._robots = Robots(self._agent, self._robots_text, self._slow_down)
        self._results: SimpleQueue[Result] = SimpleQueue()
        self.histogram: Counter[str] = Counter()

    def key(self, address: str) -> str:
        """What the journal knows ``address`` by."""
        return identity(self._folder, address) if self._is_local(address) and self._folder else address

    def known(self, addresses: Iterable[str]) -> dict[str, Outcome]:
        """Outcomes of earlier runs that still hold; an ok one only if its picture is still stored."""
        keys = {address: self.key(address) for address in addresses}
        recorded = self._journal.read(keys.values())
        result = {}
        for address, key in keys.items():
            outcome = recorded.get(key)
            if outcome is None or (outcome.sha256 and outcome.status == "ok" and not self._store.holds(outcome.sha256)):
                continue
            result[address] = outcome
            self._store.know(outcome)
        return result

    def work(self, plan: Plan, known: dict[str, Outcome], total: int) -> None:
        """Ask for every address that ``plan`` needs; returns when all have an outcome."""
        threads = [
            threading.Thread(target=self._loop, name=f"crawl-{number}", daemon=True)
            for number in range(self._config.concurrency)
        ]
        for thread in threads:
            thread.start()
        try:
            self._follow(plan, known, total)
        finally:
            self._queue.finish()
        for thread in threads:
            thread.join()
        self._fetcher.close()

    def _follow(self, plan: Plan, known: dict[str, Outcome], total: int) -> None:
        """The main thread's part: hand out addresses, take in outcomes, say how it goes."""
        pending = self._put(plan.start(known))
        beat = time.monotonic()
        with progress("crawl", total, unit="items") as advance:
            advance(settled := plan.settled)
            while pending:
                try:
                    result = self._results.get(timeout=1.0)
                except Empty:
                    result = None
                if isinstance(result, BaseException):
                    raise result
                if result is not None:
                    address, outcome = result
                    self.histogram[outcome.error or "ok"] += 1
                    pending += self._put(plan.record(address, outcome)) - 1
                    advance(plan.settled - settled)
                    settled = plan.settled
                if time.monotonic() - beat > SECONDS_BETWEEN_BEATS:
                    beat = time.monotonic()
                    log.info("crawl: %d of %d items settled, %d addresses in hand; %s", settled, total, pending, self)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.histogram.most_common()) or "nothing fetched"

    def _put(self, addresses: Iterable[str]) -> int:
        count = 0
        for count, address in enumerate(addresses, 1):  # noqa: B007
            self._queue.put(Job(address, self._host(address)))
        return count

    def _host(self, address: str) -> str:
        if self._is_local(address):
            return LOCAL
        try:
            return host_of(address)
        except PictureError:
            return INVALID

    def _is_local(self, address: str) -> bool:
        return self._folder is not None and not URL.match(address)

    def _loop(self) -> None:
        try:
            while (job := self._queue.take()) is not None:
                outcome = self._attempt(job)
                if outcome is None:
                    continue
                self._journal.append(self.key(job.url), outcome)
                self._results.put((job.url, outcome))
        except BaseException as error:  # handed to the main thread, which raises it
            self._results.put(error)

    def _attempt(self, job: Job) -> Outcome | None:
        """One try at ``job``; None if it goes back into the queue for another one."""
        job.end = job.end or time.monotonic() + self._config.deadline
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
            raise PictureError("host-unavailable", permanent=False)
        job.attempts += 1
        if job.host == LOCAL:
            assert self._folder is not None
            return read_picture(self._folder, job.url, self._config.max_bytes), None
        if self._config.respect_robots and job.host != INVALID:
            self._robots.check(job.url, job.end)
        answer = self._fetcher.get(job.url, job.end)
        if self._config.respect_robots and opted_out(answer.robots_tags, self._agent):
            raise PictureError("opted-out", permanent=True, http_status=answer.status)
        return answer.body, answer.status

    def _failed(self, job: Job, failure: PictureError) -> Outcome | None:
        if not failure.permanent and failure.error not in ("deadline", "host-unavailable"):
            delay = max(backoff(job.attempts - 1, random.Random(f"{job.url} {job.attempts}")), failure.wait or 0.0)
            if failure.wait is not None:
                self._queue.pause(job.host, failure.wait)
            if job.attempts < self._config.attempts and time.monotonic() + delay < job.end:
                self._queue.put(job, delay)
                return None
        self._queue.report(job.host, transient=not failure.permanent)
        status: Status = "permanent" if failure.permanent else "transient"
        return Outcome(status, failure.error, failure.http_status, job.attempts)

    def _before_hop(self, url: str, end: float) -> None:
        """A redirect leads to ``url``: its host's rules and pace hold there too."""
        host = host_of(url)
        if self._config.respect_robots:
            self._robots.check(url, end)
        self._queue.pace(host, end)

    def _slow_down(self, origin: str, seconds: float) -> None:
        self._queue.slow_down(host_of(origin), seconds)

    def _robots_text(self, url: str, end: float, limit: int) -> str:
        for attempt in range(self._config.attempts):
            try:
                return self._fetcher.get(url, end, limit).body.decode("utf-8", errors="replace")
            except PictureError as failure:
                delay = backoff(attempt, random.Random(url))
                if failure.permanent or attempt + 1 == self._config.attempts or time.monotonic() + delay > end:
                    raise
                time.sleep(delay)
        raise AssertionError("crawl.attempts is at least 1")
