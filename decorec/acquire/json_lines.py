"""Reads gzipped JSON lines as a stream with polars; bad lines are counted and left out.

Every field is read as text: a number or a string as written, a list or an object as JSON. A field may therefore change
its type from one record to the next; the code that uses it decides what it means.
"""

from __future__ import annotations

import io
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from decorec.errors import DecorecError

__all__ = ["read_records", "reading"]

log = logging.getLogger("decorec")
GZIP = b"\x1f\x8b"


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


def read_records(path: Path, fields: Sequence[str], what: str, select: Select) -> tuple[pl.DataFrame, Counter[str]]:
    """The records of a .json.gz file, in order, after ``select``; the use of memory is limited.

    A file with bad lines is read a second time to find them, which takes about twice as long.

    Args:
        path: the file.
        fields: the fields to read.
        what: the content that is expected, for messages.
        select: gets a frame with one string column per field (null where a record does not have it) and must keep all
            rows.

    Returns:
        The frame, and a counter of "lines" (without blank ones), "not JSON" (lines left out) and "undecodable
        characters" (lines with bytes that are not UTF-8, which become U+FFFD).

    Raises:
        DecorecError: the file is missing, not gzip, or damaged.
    """
    with reading(path, what):
        if set(str(path)) & set("*?["):
            raise DecorecError(
                f"{path}: expected a path without the characters *, ? and [, which would stand for other files as "
                "well; rename the folder"
            )
        with path.open("rb") as handle:
            start = handle.read(len(GZIP))
        if start != GZIP:
            raise DecorecError(
                f"{path}: expected {what}, gzipped, found a file that starts with {start!r}; fetch it again, or "
                "compress it with gzip"
            )
        schema = pl.Schema(dict.fromkeys(fields, pl.String))
        try:
            frame = select(pl.scan_ndjson(path, schema=schema, ignore_errors=True)).collect(engine="streaming")
            return frame, Counter({"lines": len(frame)})
        except pl.exceptions.ComputeError:
            log.info("%s: not all lines are JSON in UTF-8; reading it line by line", path)
        counts: Counter[str] = Counter()
        return select(_scan_lines(path, schema, counts)).collect(engine="streaming"), counts


def _scan_lines(path: Path, schema: pl.Schema, counts: Counter[str]) -> pl.LazyFrame:
    """The records of valid lines; ``counts`` is filled while the frame is collected."""
    # The file is read as a csv file of one column without quotes, in lossy UTF-8, so that one broken character does not
    # make it unreadable. The separator is a character that JSON does not allow within a line.
    lines = pl.scan_csv(
        path,
        separator="\x01",
        quote_char=None,
        has_header=False,
        schema={"line": pl.String},
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
        glob=False,
    )
    record = pl.Struct(schema)
    parsed = pl.col("line").map_batches(_parser(record, counts), return_dtype=record, is_elementwise=True)
    records = lines.filter(pl.col("line").str.contains(r"\S")).select(parsed)
    return records.filter(pl.col("line").is_not_null()).unnest("line")


def _parser(schema: pl.Struct, counts: Counter[str]) -> Callable[[pl.Series], pl.Series]:
    lock = threading.Lock()

    def parse(lines: pl.Series) -> pl.Series:
        records = _decode(lines, schema)
        replaced = lines.str.contains("\ufffd", literal=True).sum()
        with lock:
            counts.update({"lines": len(lines), "not JSON": records.null_count(), "undecodable characters": replaced})
        return records

    return parse


def _decode(lines: pl.Series, schema: pl.Struct) -> pl.Series:
    """Records of ``lines``; null where a line is not JSON. Halves the batch until only bad lines are left."""
    try:
        return lines.str.json_decode(schema)
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
