"""Fetching by the rules of a host: robots.txt, opt-outs, pauses and redirects."""

from __future__ import annotations

import random
import time

from decorec.acquire.crawl.fetch import Answer, Fetcher, host_of, opted_out
from decorec.acquire.crawl.host_queue import HostQueue
from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.crawl.robots import Robots
from decorec.acquire.http_session import HostMap, backoff
from decorec.config.acquire import CrawlConfig

__all__ = ["Visitor"]


class Visitor:
    """Fetches pictures by URL and follows the rules of their hosts; ``queue`` keeps the rate limit of each host."""

    def __init__(self, config: CrawlConfig, connect_to: HostMap, queue: HostQueue) -> None:
        self._config = config
        self._queue = queue
        self._fetcher = Fetcher(config, connect_to)
        self._agent = config.user_agent.partition("/")[0].strip().lower()
        self._robots = Robots(self._agent, self._rules, self._slow_down)

    def close(self) -> None:
        """Close all connections, those in use as well."""
        self._fetcher.close()

    def picture(self, url: str, end: float) -> Answer:
        """One attempt at ``url`` that ends by ``end`` (time.monotonic()).

        Raises:
            PictureError: there is no complete response, or the host or owner does not want the picture to be fetched.
        """
        if self._config.respect_robots:
            self._robots.check(url, end)
        answer = self._fetcher.get(url, end, self._config.max_bytes, self._before_hop)
        if self._config.respect_robots and opted_out(answer.robots_tags, self._agent):
            raise PictureError("opted-out", permanent=True, http_status=answer.status)
        return answer

    def _before_hop(self, url: str, end: float) -> None:
        """Apply the rules and limits of the host of ``url``, to which a redirect leads."""
        host = host_of(url)
        if self._config.respect_robots:
            self._robots.check(url, end)
        self._wait(host, end)

    def _wait(self, host: str, end: float) -> None:
        if self._queue.is_closed(host):
            raise PictureError("host-unavailable", permanent=False)
        self._queue.pace(host, end)

    def _rules(self, url: str, end: float, limit: int) -> str:
        """The text of robots.txt; its redirects are not subject to robots.txt."""
        rng = random.Random(url)
        attempt = 0
        while True:
            try:
                answer = self._fetcher.get(url, end, limit, lambda hop, end: self._wait(host_of(hop), end))
                return answer.body.decode("utf-8", errors="replace")
            except PictureError as failure:
                again = time.monotonic() + max(backoff(attempt, rng), failure.wait or 0.0)
                attempt += 1
                if failure.permanent or attempt == self._config.attempts or again > end:
                    raise
            self._queue.sleep(again)

    def _slow_down(self, origin: str, seconds: float) -> None:
        self._queue.slow_down(host_of(origin), seconds)
