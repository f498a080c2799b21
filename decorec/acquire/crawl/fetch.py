"""Fetches the bytes of one URL, or says which kind of failure it met."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from decorec.acquire.crawl.connection import Watchdog, guard
from decorec.acquire.crawl.dns import PrivateAddressError, Resolver, UnreachableError
from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.http_session import HostMap, retry_after, session, timeouts
from decorec.acquire.shortage import shortage
from decorec.config.acquire import CrawlConfig
from decorec.errors import causes

__all__ = ["Answer", "Fetcher", "host_of", "opted_out"]

CHUNK = 1 << 16
TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NAMES = {
    401: "unauthorised",
    403: "forbidden",
    404: "not-found",
    408: "timeout",
    425: "too-early",
    410: "gone",
    429: "too-many-requests",
    451: "legal",
    503: "unavailable",
}
NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    UnicodeError,  # not a host name
)
NO_LOGIN = ("", "")
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its headers (case-insensitive), its decoded body, and the X-Robots-Tag lines."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    robots_tags: tuple[str, ...] = ()


def host_of(url: str) -> str:
    """Host and port of ``url``, in lower case; the limits of the crawl apply to each of these.

    Raises:
        PictureError: ``url`` is not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise PictureError("bad-url", permanent=True) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PictureError("bad-url", permanent=True)
    return f"{parts.hostname}:{port}" if port else parts.hostname


def opted_out(tags: tuple[str, ...], agent: str) -> bool:
    """Whether X-Robots-Tag lines forbid indexing or training to everybody or to ``agent`` (lower case)."""
    for line in tags:
        addressee = ""
        for directive in line.lower().split(","):
            name, colon, rest = directive.partition(":")
            if colon and name.strip() != "unavailable_after":
                addressee, directive = name.strip(), rest
            if directive.strip() in OPT_OUTS and addressee in ("", agent):
                return True
    return False


class Fetcher:
    """One attempt at a URL: follows redirects itself, with limits of time, size and number of redirects."""

    def __init__(self, config: CrawlConfig, connect_to: HostMap) -> None:
        self._config = config
        self._watchdog = Watchdog()
        self._session = session(config.user_agent, connect_to, pool_size=config.concurrency)
        self._adapter = self._session.get_adapter("https://")
        guard(self._session, Resolver(config.private_hosts), self._watchdog, set(connect_to.values()))
        self._headers = {"User-Agent": config.user_agent, "Accept-Encoding": "gzip", "Accept": "image/*,*/*;q=0.8"}
        self._routes: dict[str, tuple[dict[str, str], bool | str]] = {}

    def close(self) -> None:
        """Close all connections, those in use as well."""
        self._watchdog.stop()
        self._session.close()

    def get(self, url: str, end: float, limit: int, before_hop: Callable[[str, float], None]) -> Answer:
        """The response of ``url`` after all redirects, by ``end`` (time.monotonic()).

        A user and a password in ``url`` are sent to its host, and to no other one that a redirect leads to.
        ``before_hop(url, end)`` is called before a redirect is followed; it may wait, or raise PictureError.

        Raises:
            PictureError: anything but a complete 2xx response of at most ``limit`` bytes.
            OSError and other errors: this machine is short of something.
        """
        seen = {url}
        origin = _origin(url)
        login = get_auth_from_url(url)
        for hop in range(self._config.max_redirects + 1):
            if hop:
                before_hop(url, end)
            answer = self._hop(url, end, limit, login if _origin(url) == origin else NO_LOGIN)
            if answer.status not in REDIRECTS:
                return _accepted(answer, url)
            url = _redirected(url, answer)
            if url in seen:
                raise PictureError("redirect-loop", permanent=True, http_status=answer.status)
            seen.add(url)
        raise PictureError("too-many-redirects", permanent=True, http_status=answer.status)

    def _hop(self, url: str, end: float, limit: int, login: tuple[str, str]) -> Answer:
        host = host_of(url)
        with self._watchdog.until(end) as watch:
            response = None
            try:
                response = self._send(url, host, watch.end, login)
                answer = _read(response, end, limit)
                if watch.expired:  # a connection that was closed early may look like one that ended
                    raise PictureError("deadline", permanent=False, http_status=answer.status)
                return answer
            except NETWORK_ERRORS as error:
                if shortage(error):
                    raise
                failure = PictureError("deadline", permanent=False) if watch.expired else _classify(error)
                failure.http_status = response.status_code if response is not None else None
                raise failure from error
            finally:
                if response is not None:
                    response.close()

    def _send(self, url: str, host: str, end: float, login: tuple[str, str]) -> requests.Response:
        # The adapter is called directly: a session would add cookies, logins of a .netrc file and redirects.
        request = requests.PreparedRequest()
        request.prepare_method("GET")
        request.prepare_headers(self._headers)
        try:
            request.prepare_url(url, None)
        except ValueError as error:  # from requests, the IDNA codec or URL parsers
            raise PictureError("bad-url", permanent=True) from error
        if any(login):
            HTTPBasicAuth(*login)(request)
        seconds = min(self._config.timeout, end - time.monotonic())
        if seconds <= 0:
            raise PictureError("deadline", permanent=False)
        proxies, verify = self._route(url, host)
        return self._adapter.send(request, stream=True, timeout=timeouts(seconds), proxies=proxies, verify=verify)

    def _route(self, url: str, host: str) -> tuple[dict[str, str], bool | str]:
        """Proxies and certificates that the environment sets for the host of ``url``."""
        if host not in self._routes:
            settings = self._session.merge_environment_settings(url, {}, None, True, None)
            self._routes[host] = (dict(settings["proxies"]), settings["verify"] or True)
        return self._routes[host]


def _origin(url: str) -> tuple[str, str]:
    """Scheme and host of ``url``: a login is for both."""
    return urlsplit(url).scheme, host_of(url)


def _accepted(answer: Answer, url: str) -> Answer:
    status = answer.status
    if 200 <= status < 300:
        return answer
    name = NAMES.get(status) or ("server-error" if status in TRANSIENT else f"http-{status}")
    wait = retry_after(answer.headers, time.time()) if status in TRANSIENT else None
    raise PictureError(name, permanent=status not in TRANSIENT, http_status=status, wait=wait, host=host_of(url))


def _redirected(url: str, answer: Answer) -> str:
    location = answer.headers.get("Location")
    if not location:
        raise PictureError("bad-redirect", permanent=True, http_status=answer.status)
    with contextlib.suppress(UnicodeError):  # header bytes are read as Latin-1 although most are UTF-8
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise PictureError("bad-redirect", permanent=True, http_status=answer.status) from error


def _read(response: requests.Response, end: float, limit: int) -> Answer:
    status = response.status_code
    tags = tuple(response.raw.headers.getlist("X-Robots-Tag"))
    if not 200 <= status < 300:
        _drain(response)
        return Answer(status, response.headers, b"")
    if _announced(response) > limit:
        raise PictureError("too-large", permanent=True, http_status=status)
    body = bytearray()
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit:
            raise PictureError("too-large", permanent=True, http_status=status)
        if time.monotonic() > end:
            raise PictureError("deadline", permanent=False, http_status=status)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return Answer(status, response.headers, _decoded(bytes(body), encoding, limit, status), tags)


def _announced(response: requests.Response) -> float:
    """Content-Length in bytes, -1 if there is none."""
    value = response.headers.get("Content-Length", "")
    return float(value) if value.isdecimal() else -1.0


def _drain(response: requests.Response) -> None:
    """Read the short body of an error, so that the connection can be used again."""
    if 0 <= _announced(response) <= CHUNK:
        with contextlib.suppress(*NETWORK_ERRORS):
            while response.raw.read1(CHUNK, decode_content=False):
                pass


def _decoded(body: bytes, encoding: str, limit: int, status: int) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise PictureError("bad-encoding", permanent=True, http_status=status)
    # 32: gzip or zlib header, either one. The length is limited: a gzip bomb is not unpacked.
    decoder = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    try:
        decoded = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise PictureError("bad-encoding", permanent=True, http_status=status) from error
    if len(decoded) > limit:
        raise PictureError("too-large", permanent=True, http_status=status)
    if not decoder.eof:
        raise PictureError("truncated", permanent=False, http_status=status)
    return decoded


CLASSES: tuple[tuple[type[BaseException], str, bool], ...] = (
    (PrivateAddressError, "private-address", True),
    (requests.exceptions.InvalidURL, "bad-url", True),
    (requests.exceptions.MissingSchema, "bad-url", True),
    (requests.exceptions.InvalidSchema, "bad-url", True),
    (urllib3.exceptions.LocationParseError, "bad-url", True),
    (UnicodeError, "bad-url", True),
    (socket.gaierror, "dns", False),
    (ssl.SSLError, "tls", False),
    (urllib3.exceptions.SSLError, "tls", False),
    (urllib3.exceptions.IncompleteRead, "truncated", False),
    (http.client.IncompleteRead, "truncated", False),
    (TimeoutError, "timeout", False),
    (requests.exceptions.Timeout, "timeout", False),
    (urllib3.exceptions.TimeoutError, "timeout", False),
    (ConnectionRefusedError, "connection-refused", False),
    (ConnectionError, "connection-reset", False),
    (UnreachableError, "unreachable", False),
    (http.client.HTTPException, "bad-response", False),
    (urllib3.exceptions.HTTPError, "bad-response", False),
)
"""Kinds of exceptions -> (class of failure, permanent), the most specific first."""


def _classify(error: BaseException) -> PictureError:
    """The most specific class among ``error`` and its causes."""
    chain = list(causes(error))
    for kind, name, permanent in CLASSES:
        if any(isinstance(link, kind) for link in chain):
            return PictureError(name, permanent=permanent)
    return PictureError("connection", permanent=False)
