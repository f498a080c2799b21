"""Connections that only go to checked addresses and are closed when the time of their request is over."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

from decorec.acquire.crawl.dns import Resolver, UnreachableError

__all__ = ["Watchdog", "guard"]

SECONDS_BETWEEN_LOOKS = 0.05


class _Watch:
    """The sockets that one request uses, and the time at which it ends."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.expired = False
        self.sockets: list[socket.socket] = []


class Watchdog:
    """Closes the connections of requests whose deadline has passed.

    The time limit of a socket starts again with every byte. A server that sends one byte a second could hold a client
    for ever: in the headers, in the body or in the TLS handshake. Closing the connection from another thread ends all
    of these.
    """

    def __init__(self) -> None:
        self._watches: set[_Watch] = set()
        self._lock = threading.Lock()
        self._current = threading.local()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="crawl-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def until(self, end: float) -> Iterator[_Watch]:
        """Close the connections of this thread when ``time.monotonic()`` reaches ``end``."""
        watch = _Watch(end if not self._stopped.is_set() else 0.0)
        self._current.watch = watch
        with self._lock:
            self._watches.add(watch)
        try:
            yield watch
        finally:
            self._current.watch = None
            with self._lock:
                self._watches.discard(watch)
                for handle in watch.sockets:
                    handle.close()

    def attach(self, connection: socket.socket) -> None:
        """Add ``connection`` to those of this thread's request.

        A duplicate of the handle is kept: TLS takes the handle over, and responses live longer than connections.
        """
        watch: _Watch | None = getattr(self._current, "watch", None)
        if watch is not None:
            handle = socket.socket(fileno=os.dup(connection.fileno()))  # dup() of TLS sockets is not implemented
            with self._lock:
                watch.sockets.append(handle)
                if watch.expired:  # for example while the name was resolved
                    _shut_down(watch.sockets)

    def stop(self) -> None:
        """Close the connections of all running requests, let later requests fail, and end the thread."""
        self._stopped.set()
        self._thread.join()
        with self._lock:
            for watch in self._watches:
                watch.end = 0.0
        self._cut(time.monotonic())

    def _look(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            self._cut(time.monotonic())

    def _cut(self, now: float) -> None:
        with self._lock:
            for watch in self._watches:
                if now >= watch.end:
                    watch.expired = True
                    _shut_down(watch.sockets)


def _shut_down(handles: list[socket.socket]) -> None:
    for handle in handles:
        try:
            handle.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side has closed it already
            continue


def guard(
    session: requests.Session, resolver: Resolver, watchdog: Watchdog, trusted: Collection[tuple[str, int]]
) -> None:
    """Let ``session`` connect only to addresses that ``resolver`` returned; ``watchdog`` watches the connections.

    The (address, port) pairs in ``trusted`` are not checked. Connections through a proxy are not checked either: the
    proxy decides which addresses it reaches.
    """

    class Guarded:
        """What the two kinds of connection have in common."""

        _dns_host: str
        port: int
        timeout: Any
        sock: socket.socket | None
        socket_options: Any

        def _new_conn(self) -> socket.socket:
            target = (self._dns_host, self.port)
            addresses = [self._dns_host] if target in trusted else resolver.resolve(*target)
            connection = _connect(
                addresses,
                lambda address: create_connection(
                    (address, self.port), self.timeout, socket_options=self.socket_options
                ),
            )
            watchdog.attach(connection)
            return connection

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:  # kept open from an earlier request
                watchdog.attach(self.sock)
            super().request(*args, **options)  # type: ignore[misc]

    class GuardedHTTP(Guarded, HTTPConnection):
        pass

    class GuardedHTTPS(Guarded, HTTPSConnection):
        pass

    class HTTPPool(HTTPConnectionPool):
        ConnectionCls = GuardedHTTP

    class HTTPSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHTTPS

    for adapter in session.adapters.values():
        assert isinstance(adapter, HTTPAdapter)
        adapter.poolmanager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}


def _connect(addresses: list[str], connect: Callable[[str], socket.socket]) -> socket.socket:
    """The connection to the first address that can be reached.

    Raises:
        OSError: no address can be reached; the error of the last one (ConnectionError, TimeoutError or
            UnreachableError).
    """
    failure = OSError("no address")
    for address in addresses:
        try:
            return connect(address)
        except OSError as error:
            failure = error
    if isinstance(failure, ConnectionError | TimeoutError):
        raise failure
    raise UnreachableError(str(failure)) from failure
