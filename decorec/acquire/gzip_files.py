"""Reads files that may be gzipped, whatever their names are: their first bytes say so.

What is wrong with a gzip file is a ``gzip.BadGzipFile``, an OSError, as of any other file that cannot be read.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

__all__ = ["GZIP", "pieces", "unpacked"]

GZIP = b"\x1f\x8b"
"""Begins a gzip file."""
CHUNK = 1 << 23
"""Bytes of a file that are read at a time."""
BLOCK = 1 << 25
"""Largest number of bytes that are unpacked at a time."""


def pieces(handle: BinaryIO) -> Iterator[bytes]:
    """The content of a file, or of a gzip file of one or more members, at most ``BLOCK`` bytes at a time.

    Raises:
        gzip.BadGzipFile: the file is damaged or ends too early.
    """
    rest = handle.read(CHUNK)
    packed = rest.startswith(GZIP)
    while rest and not packed:
        yield rest
        rest = handle.read(CHUNK)
    while rest:
        member = isal_zlib.decompressobj(wbits=16 + isal_zlib.MAX_WBITS)
        while not member.eof:
            if not (rest := rest or handle.read(CHUNK)):
                raise gzip.BadGzipFile("it ends in the middle of the compressed data")
            try:
                piece = member.decompress(rest, BLOCK)
            except isal_zlib.error as error:  # type: ignore[misc]  # a class; its stub says instance
                raise gzip.BadGzipFile(str(error)) from error
            rest = member.unconsumed_tail
            if piece:
                yield piece
        rest = member.unused_data or handle.read(CHUNK)
        while rest and not (rest := rest.lstrip(b"\0")):  # zeros may stand between members
            rest = handle.read(CHUNK)


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The content of a file to be read from, gzipped or not.

    Raises:
        gzip.BadGzipFile: while it is read: the file is damaged or ends too early.
    """
    with path.open("rb") as handle, io.BufferedReader(_Pieces(pieces(handle))) as content:
        yield content


class _Pieces(io.RawIOBase):
    """Pieces of a file, one after the other."""

    def __init__(self, coming: Iterator[bytes]) -> None:
        self._coming, self._rest = coming, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what a BufferedReader passes
        if not self._rest:
            self._rest = memoryview(next(self._coming, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
