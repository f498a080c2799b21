"""robots.txt (RFC 9309): fetched once per host and obeyed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from decorec.acquire.crawl.outcome import PictureError

__all__ = ["Robots"]

LONGEST = 500 * 1024
"""Bytes of robots.txt that are read."""
LONGEST_DELAY = 60.0
"""A host that asks for more seconds than this between requests counts as one that forbids them."""
RATE = re.compile(r"\s*(crawl-delay|request-rate)\s*:", re.IGNORECASE)
PLAIN_RATE = re.compile(r"[^:]*:\s*[0-9]{1,6}(\s*/\s*[0-9]{1,6})?\s*(#.*)?")


@dataclass
class _Host:
    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: RobotFileParser | PictureError | Literal["none"] | None = None


class Robots:
    """Decides whether a URL may be fetched.

    A robots.txt that does not exist (any 4xx) allows everything. One that cannot be fetched (no answer, 5xx) forbids
    everything for this run (RFC 9309, 2.3.1.4), so that a dead host costs one request and not one per picture.
    """

    def __init__(
        self, agent: str, get: Callable[[str, float, int], str], slow_down: Callable[[str, float], None]
    ) -> None:
        """``get(url, end, limit)``: the text, or PictureError; ``slow_down(url, seconds)``: receives Crawl-delay."""
        self._agent = agent
        self._get = get
        self._slow_down = slow_down
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def check(self, url: str, end: float) -> None:
        """Return if ``url`` may be fetched.

        Raises:
            PictureError: it may not ("robots", permanent), or robots.txt cannot be fetched (transient).
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
            status = host.rules.http_status
            name = "robots-unreachable" if status else host.rules.error
            raise PictureError(name, permanent=False, http_status=status)
        if host.rules != "none" and not _allows(host.rules, self._agent, url):
            raise PictureError("robots", permanent=True)

    def _fetch(self, origin: str, end: float) -> RobotFileParser | PictureError | Literal["none"]:
        rules = RobotFileParser()
        try:
            text = self._get(f"{origin}/robots.txt", end, LONGEST)
        except PictureError as failure:
            return "none" if failure.permanent else failure
        # The parser of the standard library fails on rates that are not plain numbers.
        rules.parse([line for line in text.splitlines() if not RATE.match(line) or PLAIN_RATE.fullmatch(line)])
        delay = float(rules.crawl_delay(self._agent) or 0.0)
        if delay > LONGEST_DELAY:
            rules = RobotFileParser()
            rules.parse(["User-agent: *", "Disallow: /"])
        elif delay:
            self._slow_down(origin, delay)
        return rules


def _allows(rules: RobotFileParser, agent: str, url: str) -> bool:
    try:
        return rules.can_fetch(agent, url)
    except ValueError as error:  # it unquotes the URL before it parses it
        raise PictureError("bad-url", permanent=True) from error
