"""The result of one picture address: a row of images.parquet, and the exception of a failure."""

from __future__ import annotations

from dataclasses import dataclass

from decorec.artifacts.schemas.images import Status

__all__ = ["Outcome", "PictureError"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one address (URL or local file), with the columns of images.parquet.

    ``error``: class of the failure, None if ok. ``attempts``: attempts in the run that gave this result. ``sha256`` and
    ``bytes``: of the body as served, None if no complete body arrived. ``width``, ``height``: of the original picture
    in pixels, turned upright.
    """

    status: Status
    error: str | None = None
    http_status: int | None = None
    attempts: int = 0
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None


class PictureError(Exception):
    """An address did not give a picture. This is expected, and is recorded as a row.

    Args:
        error: class of the failure, e.g. "not-found".
        permanent: false if another run may succeed.
        http_status: status of the response, if there was one.
        wait: seconds that the server asked to wait (Retry-After), if it did.
        host: the server that asked; after a redirect it differs from that of the address.
    """

    def __init__(
        self,
        error: str,
        *,
        permanent: bool,
        http_status: int | None = None,
        wait: float | None = None,
        host: str = "",
    ) -> None:
        super().__init__(error)
        self.error = error
        self.permanent = permanent
        self.http_status = http_status
        self.wait = wait
        self.host = host
