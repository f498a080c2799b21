"""An HTTP server on the loopback interface for the files of one folder: ranges, validators, HEAD."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["HOST", "shop_server"]

HOST = "shop.example"
"""Made-up host name in the URLs of the sample's files; clients map it to the local server."""

CONTENT_TYPES = {".jpg": "image/jpeg", ".json": "application/json", ".gz": "application/gzip"}


@lru_cache(maxsize=65_536)
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:32]


def _byte_range(header: str, size: int) -> tuple[int, int] | None:
    """(first, end) of a single-range header, end exclusive; None if it cannot be satisfied (RFC 9110, 14.1.2)."""
    first, last = header.removeprefix("bytes=").split("-")
    begin, end = (int(first), int(last) + 1 if last else size) if first else (max(0, size - int(last)), size)
    return (begin, min(end, size)) if begin < min(end, size) else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the clients report what they fetch."""

    def _file(self) -> Path | None:
        try:
            path = (self.folder / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        except (ValueError, OSError):  # a zero byte, or a name too long for the file system
            return None
        return path if path.is_relative_to(self.folder) and path.is_file() else None

    def _empty(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, with_body: bool) -> None:
        path = self._file()
        if path is None:
            self._empty(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        stat = path.stat()
        etag = f'"{_digest(path, stat.st_mtime_ns, stat.st_size)}"'
        if self.headers.get("If-None-Match") == etag:
            self._empty(HTTPStatus.NOT_MODIFIED, {"ETag": etag})
            return
        begin, end, status = 0, stat.st_size, HTTPStatus.OK
        header = self.headers.get("Range", "")
        single = re.fullmatch(r"bytes=(\d+-\d*|-\d+)", header)
        if single and self.headers.get("If-Range", etag) == etag:
            bounds = _byte_range(header, stat.st_size)
            if bounds is None:
                unsatisfied = {"Content-Range": f"bytes */{stat.st_size}", "Content-Length": "0"}
                self._empty(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unsatisfied)
                return
            (begin, end), status = bounds, HTTPStatus.PARTIAL_CONTENT
        headers = {
            "Content-Type": CONTENT_TYPES.get(path.suffix, "application/octet-stream"),
            "Content-Length": str(end - begin),
            "Accept-Ranges": "bytes",
            "ETag": etag,
        }
        if status is HTTPStatus.PARTIAL_CONTENT:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{stat.st_size}"
        self._empty(status, headers)
        if with_body and end > begin:
            self._send(path, begin, end)

    def _send(self, path: Path, begin: int, end: int) -> None:
        try:
            with path.open("rb") as handle:
                self.connection.sendfile(handle, begin, end - begin)
        except ConnectionError:  # the client has closed the connection
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has closed the connection: a crawl that ends or is killed does so."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def shop_server(folder: Path) -> Iterator[int]:
    """Serve the files under ``folder`` on 127.0.0.1 while the context is open; yields the port.

    Answers GET and HEAD, single byte ranges with If-Range, and If-None-Match; entity tags are hashes of the content and
    stay the same after a restart. Every path that is not a file under ``folder`` gets 404.
    """
    handler = type("_FolderHandler", (_Handler,), {"folder": folder.resolve()})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
