"""Shortages of this machine: they are told as what they are, and not booked against a server or a picture."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decorec.errors import DecorecError, causes, explain

__all__ = ["shortage", "shortages_told"]

SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM}


def shortage(error: BaseException) -> OSError | None:
    """The shortage of this machine that led to ``error``, if one did: of open files, disk or memory."""
    links = list(causes(error))
    if any(isinstance(link, socket.gaierror) for link in links):
        try:  # the look-up of a name does not say that it could not open a file
            socket.socket().close()
        except OSError as found:
            links.append(found)
    return next((link for link in links if isinstance(link, OSError) and link.errno in SHORTAGES), None)


@contextmanager
def shortages_told(place: Path) -> Iterator[None]:
    """Turn an error that a shortage led to into one message, which names the file, or ``place`` if it has no name.

    Raises:
        DecorecError: this machine is short of something.
    """
    try:
        yield
    except DecorecError:
        raise
    except Exception as error:
        found = shortage(error)
        told = None if found is None else explain(found, place)
        if told is None:
            raise
        raise told from error
