"""A loopback server of pictures on which everything that goes wrong on the web goes wrong, by path; it counts."""

from __future__ import annotations

import base64
import gzip
import io
import os
import re
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from urllib.parse import unquote

from PIL import Image

from tests.support.loopback import Server

MEGABYTE = b"\0" * 1_000_000
LOGIN = "us er:p@ss/word"
ENDLESS = 200
"""Megabytes of the bodies that are too large."""


def picture(number: int = 0, size: tuple[int, int] = (60, 40), form: str = "JPEG") -> bytes:
    """A picture whose colours depend on ``number``."""
    image = Image.new("RGB", size, (number * 37 % 256, number // 7 % 256, number * 11 % 256))
    image.paste((255 - number % 256, 80, 160), (0, 0, size[0] // 2, size[1] // 2))
    buffer = io.BytesIO()
    image.save(buffer, form, quality=90)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of one bit per pixel that claims a size; ``data`` is its compressed content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@cache
def gzip_bomb() -> bytes:
    """A small body that unpacks to a large one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join([*(packer.compress(MEGABYTE) for _ in range(ENDLESS)), packer.flush()])


class Hostile:
    """The server. ``requests`` counts by path, ``agents`` notes User-Agent, ``served`` counts bytes of bodies."""

    def __init__(self, robots: str | None = None, delay: float = 0.0) -> None:
        """``robots``: text of robots.txt; ``delay``: seconds before each answer."""
        self.robots = robots
        self.delay = delay
        self.requests: Counter[str] = Counter()
        self.times: list[float] = []
        self.agents: set[str] = set()
        self.served = 0
        self.busy = self.busiest = 0
        self.closing = threading.Event()
        gzip_bomb()
        self.lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), type("_Handler", (_Handler,), {"hostile": self}))
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Hostile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hostile: Hostile

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, path = self.hostile, unquote(self.path)
        with server.lock:
            server.requests[path] += 1
            self.count = server.requests[path]
            server.times.append(time.monotonic())
            server.agents.add(self.headers["User-Agent"])
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        time.sleep(server.delay)
        try:
            self._answer(path)
        except ConnectionError:
            self.close_connection = True
        finally:
            with server.lock:
                server.busy -= 1

    def _answer(self, path: str) -> None:
        name = path.strip("/").split("/")[0].split(".")[0]
        if path == "/robots.txt":
            text = self.hostile.robots
            self._give(text.encode() if text is not None else b"", 200 if text is not None else 404)
        elif re.fullmatch(r"\d{3}", name):
            self._give(b"<h1>no</h1>", int(name))
        else:
            behaviour = getattr(self, "_" + name.replace("-", "_"), None)
            (behaviour or self._missing)(path)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def _give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self._head(status, **{"Content_Length": str(len(body)), "Content_Type": "image/jpeg", **headers})
        self._write(body)

    def _write(self, body: bytes) -> None:
        self.wfile.write(body)
        with self.hostile.lock:
            self.hostile.served += len(body)

    def _missing(self, path: str) -> None:
        self._give(b"", 404)

    def _ok(self, path: str) -> None:
        digits = re.findall(r"\d+", path)
        self._give(picture(int(digits[0]) if digits else 0))

    def _placeholder(self, path: str) -> None:
        self._give(picture(9_999))

    def _busy(self, path: str) -> None:
        """429 once, with Retry-After, then fine."""
        if self.count == 1:
            self._give(b"", 429, Retry_After="1")
        else:
            self._ok(path)

    def _closed(self, path: str) -> None:
        self._give(b"", 503, Retry_After="3600")

    def _wild_headers(self, path: str) -> None:
        digits = "9" * 5_000
        date = f"Mon, 01 Jan {digits[:40]} 10:00:00 GMT"
        self._head(503, Content_Length=digits, Retry_After=date, X_Robots_Tag=":,;:", Content_Encoding="?")
        self.close_connection = True

    def _flaky(self, path: str) -> None:
        self._give(b"", 500) if self.count == 1 else self._ok(path)

    def _drip(self, path: str) -> None:
        self._head(200, Content_Length="100000")
        while not self.hostile.closing.wait(0.02):
            self._write(b"\xff")

    def _dripping_headers(self, path: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.hostile.closing.wait(0.02):
            self.wfile.write(b"x")

    def _hang(self, path: str) -> None:
        self.hostile.closing.wait()

    def _reset(self, path: str) -> None:
        body = picture(1, (200, 200))
        self._head(200, Content_Length=str(len(body)))
        self._write(body[: len(body) // 2])
        # Linger 0 turns the close into a reset; detached, because open file objects put off a close.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def _short(self, path: str) -> None:
        """Fewer bytes than announced."""
        body = picture(2)
        self._head(200, Content_Length=str(len(body) + 100))
        self._write(body)
        self.close_connection = True

    def _long(self, path: str) -> None:
        """More bytes than announced."""
        body = picture(3)
        self._head(200, Content_Length=str(len(body) // 2))
        self._write(body)

    def _loop(self, path: str) -> None:
        self._give(b"", 302, Location=path)

    def _circle(self, path: str) -> None:
        self._give(b"", 302, Location="/circle/1" if path.endswith("/2") else "/circle/2")

    def _chain(self, path: str) -> None:
        left = int(path.rsplit("/", 1)[1])
        self._give(b"", 301, Location=f"{left - 1}" if left > 1 else "/ok/77.jpg")

    def _elsewhere(self, path: str) -> None:
        """Redirects to what follows in the path."""
        self._give(b"", 302, Location=path.removeprefix("/elsewhere/"))

    def _html(self, path: str) -> None:
        self._give(b"<!doctype html><title>Not a picture</title>")

    def _cut(self, path: str) -> None:
        body = picture(4, (300, 300))
        self._give(body[: len(body) // 2])

    def _empty(self, path: str) -> None:
        self._give(b"")

    def _bomb(self, path: str) -> None:
        self._give(png(50_000, 50_000, zlib.compress(b"\0" * 6_251)))

    def _huge(self, path: str) -> None:
        """Far too many bytes, announced or not."""
        announced = path.endswith("announced")
        self._head(200, **({"Content_Length": str(ENDLESS * len(MEGABYTE))} if announced else {"Connection": "close"}))
        for _ in range(ENDLESS):
            self._write(MEGABYTE)
        self.close_connection = True

    def _gzip(self, path: str) -> None:
        self._give(gzip.compress(picture(5)), Content_Encoding="gzip")

    def _gzip_bomb(self, path: str) -> None:
        self._give(gzip_bomb(), Content_Encoding="gzip")

    def _brotli(self, path: str) -> None:
        self._give(picture(6), Content_Encoding="br")

    def _opted_out(self, path: str) -> None:
        self._give(picture(7), X_Robots_Tag="noai, noimageai")

    def _locked(self, path: str) -> None:
        """A picture for one user and password."""
        right = self.headers.get("Authorization") == f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
        self._ok(path) if right else self._give(b"", 401, WWW_Authenticate="Basic")

    def _bare(self, path: str) -> None:
        """A picture for those who bring no password."""
        self._give(b"", 400) if self.headers.get("Authorization") else self._ok(path)

    def _garbage(self, path: str) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.close_connection = True
