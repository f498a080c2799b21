"""robots.txt (RFC 9309): fetched once per host and obeyed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from decorec.crawl.outcome import PictureError

__all__ = ["Robots"]

LONGEST = 500 * 1024


@dataclass
class _Host:
    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: RobotFileParser | PictureError | None = None


class Robots:
    """Answers whether a URL may be fetched.

    A robots.txt that does not exist (any 4xx) allows everything; one that cannot be had (no answer, 5xx) forbids
    everything for this run (RFC 9309, 2.3.1.4), so that a dead host costs one fetch and not one per picture.
    """

    def __init__(
        self, agent: str, get: Callable[[str, float, int], str], slow_down: Callable[[str, float], None]
    ) -> None:
        """``get(url, end, limit)``: the text, or PictureError; ``slow_down(url, seconds)``: takes Crawl-delay."""
        self._agent = agent
        self._get = get
        self._slow_down = slow_down
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def check(self, url: str, end: float) -> None:
        """Return if ``url`` may be fetched.

        Raises:
            PictureError: it may not ("robots", permanent), or the rules cannot be had (transient).
        """
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        with self._lock:
            host = self._hosts.setdefault(origin, _Host())
        if host.rules is None:
            with host.lock:
                if host.rules is None:
                    host.rules = self._fetch(origin, end)
        if isinstance(host.rules, PictureError):
            raise PictureError("robots-unreachable", permanent=False, http_status=host.rules.http_status)
        if not host.rules.can_fetch(self._agent, url):
            raise PictureError("robots", permanent=True)

    def _fetch(self, origin: str, end: float) -> RobotFileParser | PictureError:
        rules = RobotFileParser()
        try:
            text = self._get(f"{origin}/robots.txt", end, LONGEST)
        except PictureError as failure:
            if not failure.permanent:
                return failure
            text = ""
        rules.parse(text.splitlines())
        delay = rules.crawl_delay(self._agent)
        if delay is not None:
            self._slow_down(origin, float(delay))
        return rules
