"""A loopback HTTP server that misbehaves on demand and counts what it serves."""

from __future__ import annotations

import base64
import gzip
import os
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

CHUNK = 1 << 14


def zipped(size: int, seed: int = 0) -> bytes:
    """A gzip file of about ``size`` bytes."""
    return gzip.compress(random.Random(seed).randbytes(size), 1, mtime=0)


@dataclass(frozen=True)
class Turn:
    """How one request is answered; the default is to behave."""

    status: int | None = None
    """Answer with this status and no body."""
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the answer, or put in place of its own headers."""
    cut: int | None = None
    """Reset the connection after this many bytes of body."""
    claim: int | None = None
    """Content-Length claimed, in place of the true one."""
    body: bytes | None = None
    """Body served in place of the file."""
    ranges: bool = True
    """Honour Range."""
    pause: float = 0.0
    """Seconds between chunks of CHUNK bytes."""


@dataclass(frozen=True)
class Request:
    """What the server saw and did."""

    path: str
    headers: dict[str, str]
    status: int


class Server(ThreadingHTTPServer):
    """Says nothing of a client that has closed the connection.

    Not for neatness alone: Python 3.11 parses source code to print a traceback, and a thread that does so while another
    one imports a module can end the import (SystemError: AST constructor recursion depth mismatch).
    """

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is no closed connection."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Loopback:
    """Serves ``files`` (path -> body) with entity tags and ranges; ``turns`` are used up one per request.

    ``served`` counts the bytes of all bodies; ``watch`` is called with it after every chunk.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        turns: list[Turn] | None = None,
        usual: Turn | None = None,
        login: str | None = None,
    ) -> None:
        """``login``: user:password that every request must bring."""
        self.login = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
        self.files, self.turns, self.usual = files, deque(turns or []), usual or Turn()
        self.requests: list[Request] = []
        self.served = 0
        self.watch: Callable[[int], None] = lambda served: None
        owner = self

        class Handler(_Handler):
            loopback = owner

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loopback: Loopback

    def log_message(self, format: str, *args: object) -> None:
        pass

    def setup(self) -> None:
        # A small send buffer: bytes counted as served are then mostly bytes received.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        super().setup()

    def do_HEAD(self) -> None:
        status, _, headers = self._plan(self.loopback.usual)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        server = self.loopback
        turn = server.turns.popleft() if server.turns else server.usual
        status, body, headers = self._plan(turn)
        server.requests.append(Request(self.path, dict(self.headers.items()), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body, turn)

    def _plan(self, turn: Turn) -> tuple[int, bytes, dict[str, str]]:
        if self.loopback.login not in (None, self.headers.get("Authorization")):
            return 401, b"", {"Content-Length": "0", "WWW-Authenticate": "Basic"}
        if turn.status is not None:
            return turn.status, b"", {"Content-Length": "0", **turn.headers}
        if self.path not in self.loopback.files:
            return 404, b"", {"Content-Length": "0"}
        body = turn.body if turn.body is not None else self.loopback.files[self.path]
        headers = {"ETag": f'"{hash(body)}"', **turn.headers}
        if headers["ETag"] == self.headers.get("If-None-Match"):
            return 304, b"", headers
        status, size = 200, len(body)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and turn.ranges and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            begin = int(wanted[1])
            if begin >= size:
                return 416, b"", {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            status, body = 206, body[begin:]
            headers = {"Content-Range": f"bytes {begin}-{size - 1}/{size}", **headers}
        return status, body, {"Content-Length": str(turn.claim if turn.claim is not None else len(body)), **headers}

    def _send(self, body: bytes, turn: Turn) -> None:
        end = len(body) if turn.cut is None else turn.cut
        try:
            for begin in range(0, end, CHUNK):
                chunk = body[begin : min(begin + CHUNK, end)]
                self.wfile.write(chunk)
                self.loopback.served += len(chunk)
                self.loopback.watch(self.loopback.served)
                time.sleep(turn.pause)
        except ConnectionError:
            self.close_connection = True
        if turn.cut is not None:
            # Linger 0 turns the close into a reset; detached, because open file objects put off a close.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            self.close_connection = True
        if turn.claim is not None:
            self.close_connection = True
