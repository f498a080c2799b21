"""Reads JSON lines with polars; bad lines and those that are too long are counted and left out.

Every field is read as text: a number or a string as written, a list or an object as JSON. A field may therefore change
its type from one record to the next; the code that uses it decides what it means.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from decorec.acquire.gzip_files import GZIP, pieces
from decorec.errors import DecorecError

__all__ = ["read_records", "reading"]

LONGEST = 1 << 26
"""Bytes of the longest line that is read. The longest records of the published files have less than a hundredth of it.
Polars takes four times the memory of a line, and ends the process where it does not get it."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn a failure to read ``path``, which should be ``what``, into one message.

    Raises:
        DecorecError: the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise DecorecError(f"{path}: expected {what}, found no such file; correct the path or fetch the file")
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DecorecError(
            f"{path}: expected {what}, found a file that cannot be read ({found}); fetch or write it again"
        ) from error


Select = Callable[[pl.LazyFrame], pl.LazyFrame]


def read_records(
    path: Path, fields: Sequence[str], what: str, select: Select, packed: bool = True
) -> tuple[pl.DataFrame, Counter[str]]:
    """The records of a file of JSON lines, in order, after ``select``; the use of memory is limited.

    The file is read in blocks: polars' own reader is faster by a quarter, but holds every line in memory, however long
    it is.

    Args:
        path: the file.
        fields: the fields to read.
        what: the content that is expected, for messages.
        select: gets a frame with one string column per field (null where a record does not have it) and must keep all
            rows; it may be called for one part of the file after the other.
        packed: whether the file must be gzipped.

    Returns:
        The frame, and a counter of "lines" (without blank ones), "not JSON" and "line too long" (lines left out, the
        latter of more than ``LONGEST`` bytes) and "undecodable characters" (lines with bytes that are not UTF-8, which
        become U+FFFD).

    Raises:
        DecorecError: the file is missing, damaged, or not gzipped where it must be.
    """
    with reading(path, what):
        with path.open("rb") as handle:
            start = handle.read(len(GZIP))
        if packed and start != GZIP:
            raise DecorecError(
                f"{path}: expected {what}, gzipped, found a file that starts with {start!r}; fetch it again, or "
                "compress it with gzip"
            )
        schema = pl.Schema(dict.fromkeys(fields, pl.String))
        return _read_blocks(path, schema, select)


def _read_blocks(path: Path, schema: pl.Schema, select: Select) -> tuple[pl.DataFrame, Counter[str]]:
    counts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    parts = [select(schema.to_frame().lazy()).collect()]
    blocks = _blocks(path, skipped)
    with ThreadPoolExecutor(1) as ahead:  # decompresses the next block meanwhile
        coming = ahead.submit(next, blocks, b"")
        while block := coming.result():
            coming = ahead.submit(next, blocks, b"")
            parts.append(select(_parsed(block, schema, counts).lazy()).collect())
    return pl.concat(parts), counts + skipped


def _blocks(path: Path, skipped: Counter[str]) -> Iterator[bytes]:
    """Whole lines of a file in blocks; a line that is too long is ``skipped`` and not held in memory."""
    line: list[bytes] = []
    """Pieces of a line whose end is not read yet."""
    held = 0
    skipping = False
    with path.open("rb") as handle:
        for piece in pieces(handle):
            first, last = piece.find(b"\n") + 1, piece.rfind(b"\n") + 1
            if not skipping and held + (first or len(piece)) > LONGEST:
                skipped.update({"lines": 1, "line too long": 1})
                line, held, skipping = [], 0, True
            if last:
                if block := b"".join([*line, piece[first if skipping else 0 : last]]):
                    yield block
                line, held, skipping = [piece[last:]], len(piece) - last, False
            elif not skipping:
                line.append(piece)
                held += len(piece)
    if held:
        yield b"".join(line)


def _parsed(block: bytes, schema: pl.Schema, counts: Counter[str]) -> pl.DataFrame:
    """The records of the lines of ``block``."""
    try:
        records = pl.read_ndjson(io.BytesIO(block), schema=schema, ignore_errors=True)
        if len(records) == block.count(b"\n") + (not block.endswith(b"\n")):
            counts["lines"] += len(records)
            return records
    except pl.exceptions.ComputeError:
        pass  # not all lines are JSON in UTF-8
    lines = pl.Series("line", block.decode("utf-8", errors="replace").split("\n"))
    lines = lines.filter(lines.str.contains(r"\S"))
    found = _decode(lines, pl.Struct(schema))
    replaced = lines.str.contains("\ufffd", literal=True).sum()
    counts.update({"lines": len(lines), "not JSON": found.null_count(), "undecodable characters": replaced})
    return found.filter(found.is_not_null()).struct.unnest()


def _decode(lines: pl.Series, schema: pl.Struct) -> pl.Series:
    """Records of ``lines``; null where a line is not JSON. Halves the batch until only bad lines are left."""
    try:
        decoded = lines.str.json_decode(schema)
        if len(decoded) == len(lines):  # a string that is cut by the end of its line goes on in the next one
            return decoded
    except pl.exceptions.ComputeError:
        pass  # a field of another type, or a line that is not JSON
    try:
        text = "\n".join(lines.to_list()).encode()
        records = pl.read_ndjson(io.BytesIO(text), schema=schema.to_schema(), ignore_errors=True)
        if len(records) == len(lines):
            return records.to_struct("line")
    except pl.exceptions.ComputeError:
        pass
    if len(lines) == 1:
        return pl.Series("line", [None], dtype=schema)
    half = len(lines) // 2
    return pl.concat([_decode(lines[:half], schema), _decode(lines[half:], schema)])
