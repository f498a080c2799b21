"""Shared parts of all HTTP clients: session, host map, time limits, waits between attempts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from decorec import __version__

__all__ = ["USER_AGENT", "HostMap", "backoff", "retry_after", "session", "timeouts"]

HostMap = Mapping[str, tuple[str, int]]
"""Host name -> (network address, port) to which its connections go."""

USER_AGENT = f"decorec/{__version__}"
LONGEST_CONNECT = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds: the largest wait after the first failed attempt, and after any."""


class _MappedAdapter(HTTPAdapter):
    """Connects mapped host names to given addresses; URL, Host header and TLS name do not change."""

    def __init__(self, connect_to: HostMap, pool_size: int) -> None:
        self._connect_to = {host.lower(): target for host, target in connect_to.items()}
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size)

    def _target(self, request: requests.PreparedRequest) -> tuple[str, int] | None:
        return self._connect_to.get(urlsplit(request.url or "").hostname or "")

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        if self._target(request) is not None:
            # A copy, because a redirect inherits the headers of the request it answers.
            request = request.copy()
            request.headers.setdefault("Host", urlsplit(request.url or "").netloc.rpartition("@")[2])
            options["proxies"] = {}
        return super().send(request, *args, **options)

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        target = self._target(request)
        if target is None:
            return super().get_connection_with_tls_context(request, *args, **options)
        parts = urlsplit(request.url or "")
        tls = {"server_hostname": parts.hostname, "assert_hostname": parts.hostname} if parts.scheme == "https" else {}
        return self.poolmanager.connection_from_host(*target, scheme=parts.scheme, pool_kwargs=tls)


def session(user_agent: str = USER_AGENT, connect_to: HostMap | None = None, pool_size: int = 16) -> requests.Session:
    """A session that sends ``user_agent`` and connects the host names in ``connect_to`` to the given addresses.

    The host map works like curl's ``--connect-to``: the URL and the Host header keep the mapped name. Files that
    contain such URLs do therefore not depend on the port of the local server. ``pool_size`` is the number of
    connections that are kept open per host.
    """
    result = requests.Session()
    adapter = _MappedAdapter(connect_to or {}, pool_size)
    result.mount("http://", adapter)
    result.mount("https://", adapter)
    result.headers["User-Agent"] = user_agent
    return result


def timeouts(seconds: float) -> tuple[float, float]:
    """The (connect, read) time limits for requests, from the longest wait for a byte; all in seconds."""
    return min(seconds, LONGEST_CONNECT), seconds


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait according to the Retry-After header (RFC 9110, section 10.2.3: seconds or a date).

    ``headers`` must ignore case, as those of requests do; ``now`` is the Unix time. Returns None if the header is
    absent or unreadable, and 0 for a date in the past.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # OverflowError: for example a year of twenty digits
        return None
    # A date without a time zone is read as GMT, the only zone in HTTP.
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after failed attempt number ``attempt`` (from 0): exponential, capped, with full jitter.

    Full jitter (uniform between 0 and the bound) spreads clients that failed together.
    """
    return rng.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 30)))
