"""Gzipped JSON lines, record by record, however dirty: streamed by polars, bad lines counted and left out.

Every field is read as text, whatever it is: a number or a string as it stands, a list or an object as JSON. So a field
that changes its type from one record to the next is no obstacle, and what it means is decided where it is used.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from decorec.errors import DecorecError

__all__ = ["reading", "scan_records"]

GZIP = b"\x1f\x8b"


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn the failures of reading ``path``, which should be ``what``, into one message.

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


def scan_records(path: Path, fields: Sequence[str]) -> tuple[pl.LazyFrame, Counter[str]]:
    """The records of a .json.gz file in order, one string column per field, null where a record lacks it.

    The counter fills while the frame is collected: "lines" (blank ones aside), "not JSON" (left out), and "undecodable
    characters" (lines with bytes that are not UTF-8, replaced by U+FFFD, or with U+FFFD itself).

    Raises:
        DecorecError: no such file, or not gzip. A file that turns out damaged later raises from the collection.
    """
    with reading(path, "gzipped JSON lines"), path.open("rb") as handle:
        start = handle.read(len(GZIP))
    if start != GZIP:
        raise DecorecError(
            f"{path}: expected gzipped JSON lines, found a file that starts with {start!r}; fetch it again, or "
            "compress it with gzip"
        )
    # A csv file without quotes and of one column is a file of lines, and read in lossy UTF-8: one broken character
    # shall not cost the file. The separator is a character that JSON does not allow inside of a line.
    lines = pl.scan_csv(
        path,
        separator="\x01",
        quote_char=None,
        has_header=False,
        schema={"line": pl.String},
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )
    counts: Counter[str] = Counter()
    schema = pl.Struct(dict.fromkeys(fields, pl.String))
    parsed = pl.col("line").map_batches(_parser(schema, counts), return_dtype=schema, is_elementwise=True)
    records = lines.filter(pl.col("line").str.contains(r"\S")).select(parsed)
    return records.filter(pl.col("line").is_not_null()).unnest("line"), counts


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
    """Records of ``lines``; null where a line is not JSON. Halves the batch until the bad lines are alone."""
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
