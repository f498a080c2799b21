"""robots.txt (RFC 9309): fetched once per host and obeyed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from protego import Protego

from decorec.acquire.crawl.outcome import PictureError

__all__ = ["Robots"]

LONGEST = 500 * 1024
"""Bytes of robots.txt that are read."""
LONGEST_DELAY = 60.0
"""A host that asks for more seconds than this between requests counts as one that forbids them."""
BYTE_ORDER_MARK = "\ufeff"


@dataclass
class _Host:
    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: Protego | PictureError | Literal["none"] | None = None


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

    def _fetch(self, origin: str, end: float) -> Protego | PictureError | Literal["none"]:
        try:
            text = self._get(f"{origin}/robots.txt", end, LONGEST)
        except PictureError as failure:
            return "none" if failure.permanent else failure
        rules = Protego.parse(text.removeprefix(BYTE_ORDER_MARK))
        delay = rules.crawl_delay(self._agent) or 0.0
        if delay > LONGEST_DELAY:
            return Protego.parse("User-agent: *\nDisallow: /")
        if delay:
            self._slow_down(origin, delay)
        return rules


def _allows(rules: Protego, agent: str, url: str) -> bool:
    try:
        return rules.can_fetch(url, agent)
    except ValueError as error:  # such as characters that UTF-8 does not have
        raise PictureError("bad-url", permanent=True) from error
