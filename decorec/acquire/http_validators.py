"""What an HTTP server says about a file, so that one can check later whether it is still the same file."""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests

__all__ = ["Remote", "content_range"]


def content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """(first byte, size of the whole file) of the Content-Range header; None for a missing part."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match:
        return None, None
    return int(match[1]), int(match[2]) if match[2] != "*" else None


@dataclass(frozen=True)
class Remote:
    """Identity of a file on a server; None for what the server does not send. ``size`` is in bytes."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, response: requests.Response) -> Remote:
        """From the headers of a complete (200) or partial (206) answer."""
        length = response.headers.get("Content-Length", "")
        whole = int(length) if length.isdecimal() else None
        total = content_range(response)[1] if response.status_code == 206 else whole
        return cls(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)

    @property
    def range_condition(self) -> dict[str, str]:
        """If-Range: continue only if the file is the same. Weak entity tags are not allowed here (RFC 9110, 13.1.5)."""
        validator = self.etag if self.etag and not self.etag.startswith("W/") else self.modified
        return {"If-Range": validator} if validator else {}

    @property
    def changed_condition(self) -> dict[str, str]:
        """If-None-Match or If-Modified-Since: send the file only if it has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified else {}

    def continued_by(self, response: requests.Response, offset: int) -> bool:
        """Whether a partial answer (206) holds this file's bytes from ``offset`` on."""
        begin, total = content_range(response)
        etag = response.headers.get("ETag")
        return begin == offset and total in (self.size, None) and (not etag or not self.etag or etag == self.etag)
