"""Threads that take addresses from the queue, fetch the pictures, store them, and record each outcome."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from decorec.acquire.addresses import without_passwords
from decorec.acquire.crawl.fetch import host_of
from decorec.acquire.crawl.frontier import Frontier
from decorec.acquire.crawl.host_queue import HostQueue, Job
from decorec.acquire.crawl.journal import Journal
from decorec.acquire.crawl.local import identities, is_local, read_picture
from decorec.acquire.crawl.outcome import Outcome, PictureError
from decorec.acquire.crawl.picture_store import Store
from decorec.acquire.crawl.visit import Visitor
from decorec.acquire.http_session import HostMap, backoff
from decorec.artifacts.contents import Contents
from decorec.artifacts.schemas.images import Status
from decorec.config.acquire import CrawlConfig
from decorec.progress import progress

__all__ = ["Crew"]

LOCAL = ""
"""Host name that stands for the local disk in the queue."""
INVALID = "?"
"""Host name that stands for addresses without a host in the queue."""
REFUSALS = frozenset({"unauthorised", "forbidden"})
"""Failures that another password may mend."""
SECONDS_BETWEEN_BEATS = 30.0
SECONDS_BETWEEN_LOOKS = 0.5

log = logging.getLogger("decorec")


class Crew:
    """The threads, and the objects they share.

    ``histogram`` counts outcomes by class; ``seconds`` is the total working time of all threads.
    """

    def __init__(
        self,
        config: CrawlConfig,
        store: Store,
        journal: Journal,
        connect_to: HostMap,
        folder: Path | None,
        contents: Contents,
    ) -> None:
        """``connect_to``: our own hosts, which have no limits; ``folder``: that of local files, if there are any.

        ``contents``: what is in these files.
        """
        self.histogram: Counter[str] = Counter()
        self.seconds = 0.0
        self._config = config
        self._store = store
        self._journal = journal
        self._folder = folder
        self._contents = contents
        self._keys: dict[str, str] = {}
        """Address -> its name in the journal. That of a file is of before it is read: if it is replaced meanwhile, its
        new content is fetched the next time."""
        self._unlimited = {LOCAL, INVALID, *connect_to}
        self._queue = HostQueue(config, self._unlimited)
        self._visitor = Visitor(config, connect_to, self._queue)
        self._plan: Frontier
        self._lock = threading.Lock()
        """Held to change the frontier, the two public attributes, and the number of pending addresses."""
        self._pending = 0
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def paced(self, addresses: Iterable[str]) -> float:
        """Least seconds for fetching ``addresses`` because of crawl.rate; different hosts are fetched in parallel."""
        hosts = Counter(host for address in addresses if (host := self._host(address)) not in self._unlimited)
        return max(hosts.values(), default=0) / self._config.rate

    def work(self, frontier: Frontier) -> Collection[str]:
        """Fetch every address that ``frontier`` needs.

        Returns those whose outcome is known from earlier runs, without users and passwords.
        """
        known = self._known(frontier.addresses)
        self._plan = frontier
        self._put(frontier.start(known))
        threads = [
            threading.Thread(target=self._loop, name=f"crawl-{number}", daemon=True)
            for number in range(self._config.concurrency)
        ]
        for thread in threads:
            thread.start()
        try:
            self._follow(frontier)
        finally:
            self._queue.finish()
            self._visitor.close()
            for thread in threads:
                thread.join()
        return {without_passwords(address) for address in known}

    def _known(self, addresses: Iterable[str]) -> dict[str, Outcome]:
        """Outcomes of earlier runs that are still valid; an ok one only if its picture is still stored."""
        for address in addresses:
            self._keys[address] = without_passwords(address)
        if self._folder is not None:
            local = list(filter(is_local, self._keys))
            self._keys |= zip(local, identities(self._folder, local, self._contents), strict=True)
        recorded = self._journal.read(self._keys.values())
        result = {}
        for address, key in self._keys.items():
            outcome = recorded.get(key)
            if outcome is None or (outcome.status == "ok" and not self._store.knows(outcome)):
                continue
            result[address] = outcome
        return result

    def _follow(self, frontier: Frontier) -> None:
        """The main thread's part: wait for the end and report progress."""
        items = len(frontier)
        shown = 0
        beat = time.monotonic()
        with progress("crawl", items, unit="items") as advance:
            while True:
                over = self._over.wait(SECONDS_BETWEEN_LOOKS)
                if self._failure is not None:
                    raise self._failure
                advance(frontier.settled - shown)
                shown = frontier.settled
                if over:
                    return
                if time.monotonic() - beat > SECONDS_BETWEEN_BEATS:
                    beat = time.monotonic()
                    with self._lock:
                        counts = ", ".join(f"{name} {count}" for name, count in self.histogram.most_common())
                    pending = self._pending
                    log.info("crawl: %d of %d items done, %d addresses pending; %s", shown, items, pending, counts)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """Record how ``job`` ended and queue the addresses that follow from it."""
        # A wrong password can be put right, and the journal does not know which one it was.
        if outcome.error not in REFUSALS or without_passwords(job.url) == job.url:
            self._journal.append(self._keys[job.url], outcome)
        with self._lock:
            self.histogram[outcome.error or "ok"] += 1
            self._pending -= 1
            self._put(self._plan.record(job.url, outcome))

    def _put(self, addresses: Iterable[str]) -> None:
        """Queue ``addresses``; the crawl is over when no address is pending."""
        for address in addresses:
            self._pending += 1
            self._queue.put(Job(address, self._host(address)))
        if not self._pending:
            self._over.set()

    def _fail(self, error: BaseException) -> None:
        """Pass an unexpected ``error`` to the main thread, which raises it."""
        self._failure = self._failure or error
        self._over.set()

    def _host(self, address: str) -> str:
        if self._is_local(address):
            return LOCAL
        try:
            return host_of(address)
        except PictureError:
            return INVALID

    def _is_local(self, address: str) -> bool:
        return self._folder is not None and is_local(address)

    def _loop(self) -> None:
        try:
            while (job := self._queue.take()) is not None:
                begin = time.monotonic()
                self._attempt(job)
                with self._lock:
                    self.seconds += time.monotonic() - begin
        except BaseException as error:
            self._fail(error)

    def _attempt(self, job: Job) -> None:
        """Try ``job`` once; afterwards it is done, back in the queue for another attempt, or with the decoders."""
        if not job.started:
            job.started = time.monotonic()
            job.end = job.started + self._config.deadline
        try:
            body, http_status = self._body(job)
        except PictureError as failure:
            self._failed(job, failure)
            return
        finally:
            self._queue.release(job)
        self._queue.report(job.host, transient=False)
        self._store.add(body).add_done_callback(lambda result: self._kept(job, http_status, result))

    def _kept(self, job: Job, http_status: int | None, result: Future[Outcome]) -> None:
        try:
            self._settle(job, replace(result.result(), http_status=http_status, attempts=job.attempts))
        except BaseException as error:
            self._fail(error)

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

    def _failed(self, job: Job, failure: PictureError) -> None:
        if failure.wait is not None:
            self._queue.pause(failure.host, failure.wait)
        if not failure.permanent and job.attempts < self._config.attempts and not self._queue.is_closed(job.host):
            delay = max(backoff(job.attempts, random.Random(f"{job.url} {job.attempts}")), failure.wait or 0.0)
            if time.monotonic() + delay < job.end:
                job.failure = failure
                self._queue.put(job, delay)
                return
        if job.host != LOCAL:
            self._queue.report(job.host, transient=not failure.permanent)
        status: Status = "permanent" if failure.permanent else "transient"
        self._settle(job, Outcome(status, failure.error, failure.http_status, job.attempts))
