"""What every request passes: its body is bounded, its answer is counted, and pages load nothing from elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from decorec.serve.bodies import MOST_BYTES
from decorec.serve.meters import Meters

__all__ = ["Gateway"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_DRAINED = 16 * MOST_BYTES
"""Of a body that is too large: so much is read and forgotten, so that the sender gets to read the answer."""
PATHS = {"/", "/recommend", "/similar", "/health", "/metrics", "/search", "/docs", "/openapi.json"}
"""Whose requests are counted by name."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Gateway:
    """An ASGI middleware."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, start, status = _name(scope["path"]), time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        try:
            if scope["method"] == "POST":
                body = await _whole(receive)
                if body is None:
                    await _refuse(sending)
                    return
                receive = _replayed(body, receive)
            await self._app(scope, receive, sending)
        finally:
            self._meters.requests.labels(path, str(status)).inc()
            self._meters.seconds.labels(path).observe(time.perf_counter() - start)


def _name(path: str) -> str:
    if path.startswith("/picture/"):
        return "/picture"
    return path if path in PATHS else "other"


async def _whole(receive: Receive) -> bytes | None:
    """The body; None if it is too large."""
    parts, size, more = [], 0, True
    while more and size <= MOST_DRAINED:
        message = await receive()
        if message["type"] != "http.request":  # the client has gone
            break
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts) if size <= MOST_BYTES else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = True

    async def again() -> Message:
        nonlocal waiting
        if not waiting:
            return await receive()
        waiting = False
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send) -> None:
    text = f"body: expected at most {MOST_BYTES} bytes, found more; ask with fewer items"
    content = json.dumps({"detail": [text]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": content})
