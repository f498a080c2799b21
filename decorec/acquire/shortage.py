"""Shortages of this machine: they are told as what they are, and not booked against a server or a picture."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from decorec.errors import DecorecError

__all__ = ["causes", "shortage", "shortages_told"]

ADVICE = {
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096), or lower crawl.concurrency",
    errno.ENFILE: "close other programs, which together have as many files open as the system allows",
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EROFS: "mount the file system for writing, or run in another folder",
    errno.ENOMEM: "close other programs, or give this one more memory",
}
"""What to do, by the number of the error."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error``, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shortage(error: BaseException) -> OSError | None:
    """The shortage of this machine that led to ``error``, if one did: of open files, disk or memory."""
    links = list(causes(error))
    if any(isinstance(link, socket.gaierror) for link in links):
        try:  # the look-up of a name does not say that it could not open a file
            socket.socket().close()
        except OSError as found:
            links.append(found)
    return next((link for link in links if isinstance(link, OSError) and link.errno in ADVICE), None)


@contextmanager
def shortages_told(step: str) -> Iterator[None]:
    """Turn an error that a shortage led to into one message.

    Raises:
        DecorecError: this machine is short of something.
    """
    try:
        yield
    except DecorecError:
        raise
    except Exception as error:
        found = shortage(error)
        if found is None:
            raise
        place = f"{found.filename}: " if found.filename else ""
        raise DecorecError(
            f"{step}: {place}expected a machine with what the step needs, found: {found.strerror};"
            f" {ADVICE[found.errno or 0]}, then run again: the step continues where it stopped"
        ) from error
