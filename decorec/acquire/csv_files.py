"""Checks of csv files that the reader of the tables does not make: encoding, separators, line ends, and quotes.

The reader takes a stray quote for the start of a field that goes on over the next lines, and says nothing of the rows
that it swallows.
"""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import dropwhile
from pathlib import Path

from decorec.data.interactions import shortened
from decorec.errors import DecorecError

__all__ = ["check_breaks", "check_csv", "check_encoding", "check_header", "check_widths", "count_records", "lone_quote"]

BEGINNING = 1 << 16
LONGEST_FIELD = 1 << 30
SHOWN = 20
"""Bytes around one that is not UTF-8 that a message shows."""
OTHERS = {
    rb"\xff\xfe|\xfe\xff|\0.|.\0": "UTF-16",
    rb"\x1f\x8b": "a gzip file",
    rb"BZh[1-9]1AY&SY": "a bzip2 file",
    rb"\x28\xb5\x2f\xfd": "a zstandard file",
    rb"PK\x03\x04": "a zip archive or a spreadsheet",
    rb"\xd0\xcf\x11\xe0": "a spreadsheet",
    rb"PAR1\x15": "a parquet file",
}
"""What a file is that begins in this way, and is no text in UTF-8."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
INSIDE = re.compile(r'[^",]"[^",\r\n]')
"""A quote in the middle of a text that is not in quotes: inside of quotes it is doubled."""


def check_csv(path: Path) -> None:
    """Check that a csv file is UTF-8 text, as far as its beginning says so, with lines that end in LF or CR LF.

    Raises:
        DecorecError: it is packed, a spreadsheet or UTF-16, or its lines end in CR alone.
    """
    with path.open("rb") as handle:
        start = handle.read(BEGINNING)
    other = next((name for pattern, name in OTHERS.items() if re.match(pattern, start, re.DOTALL)), None)
    if other is not None:
        advice = "" if other == "UTF-16" else "unpack it, or "
        raise DecorecError(f"{path}: expected UTF-8 text, found {other}; {advice}save the table as csv in UTF-8")
    if b"\r" in start and b"\n" not in start and len(start.split(b"\r")) > 2:
        raise DecorecError(
            f"{path}: expected lines that end in LF or CR LF, found CR alone; save the file with the line ends of Unix "
            "or Windows"
        )


def check_header(path: Path, names: Sequence[str], fields: Collection[str]) -> None:
    """Check the ``names`` of the columns as polars reads them, of which the ``fields`` are needed.

    Raises:
        DecorecError: there is another separator than a comma, or a column that is needed is there twice.
    """
    if len(names) == 1:
        other = next((word for separator, word in SEPARATORS.items() if separator in names[0]), None)
        if other is not None:
            raise DecorecError(
                f"{path}, line 1: expected names with commas between them, found {other}: {shortened(names[0])!r}; "
                "save the file with commas"
            )
    # Polars calls the second one of two equal names so.
    twice = [name.strip() for name in names if name.strip() in fields and f"{name}_duplicated_0" in names]
    if twice:
        raise DecorecError(f"{path}, line 1: expected each column once, found {twice[0]!r} twice; rename or remove one")


def check_encoding(path: Path) -> None:
    """Check that a file is UTF-8.

    Raises:
        DecorecError: it is not; the message names the line.
    """
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                shown = line[max(0, error.start - SHOWN) : error.start + SHOWN].strip()
                raise DecorecError(
                    f"{path}, line {number}: expected UTF-8 text, found {shown!r}; save the file as UTF-8"
                ) from error


def count_records(path: Path) -> int | None:
    """Records of a csv file, its header aside, where some field is quoted; None where there is no quote at all.

    As for polars, a blank line is a record, but not one before the header.

    Raises:
        DecorecError: a quoted field is followed by something other than a comma or the end of the line.
    """
    if not _has_quote(path):
        return None
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="replace", newline="\n") as handle:
        reader = csv.reader(_lines(handle), strict=True)
        try:
            return sum(1 for _ in dropwhile(lambda record: not record, reader)) - 1
        except csv.Error as error:
            raise DecorecError(
                f"{path}, line {reader.line_num}: expected a comma or the end of the line after a closing quote, found "
                f'something else ({error}); inside of a quoted field, write a quote twice ("")'
            ) from error


def check_breaks(path: Path) -> None:
    """Check that no record of a csv file is broken in two, by a line break in a field that is not in quotes.

    A record with fewer fields than the header is not broken for that alone: some programs leave out empty fields at the
    end. It is if it begins with several words in place of an id, and is nothing else or has with the one before it all
    the fields.

    Raises:
        DecorecError: one is broken; the message names the line of its rest.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="replace", newline="\n") as handle:
        reader = csv.reader(_lines(handle))
        width, before = len(next(filter(None, reader), [])), 0
        for record in filter(None, reader):
            found = len(record)
            if " " in record[0].strip() and found < width and (found == 1 or before + found == width + 1):
                raise DecorecError(
                    f"{path}, line {reader.line_num}: expected {width} fields as in the header, found {found}, which "
                    "seem to be the rest of the line before; put fields with line breaks in quotes, and write the "
                    "commas of empty fields"
                )
            before = found


def check_widths(path: Path, separator: str = ",") -> None:
    """Check that no record of a csv file, or of one with tabs and without quotes, has more fields than its header.

    Raises:
        DecorecError: one has more; the message names its line.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="replace", newline="\n") as handle:
        quoted = separator == ","
        reader = csv.reader(
            _lines(handle), delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        )
        header = next(reader, [])
        for record in reader:
            if len(record) > len(header):
                advice = "put fields that hold a comma in quotes" if quoted else "take the tabs out of fields"
                raise DecorecError(
                    f"{path}, line {reader.line_num}: expected {len(header)} fields as in the header, found "
                    f"{len(record)}; {advice}"
                )


def lone_quote(path: Path) -> str | None:
    """Where the first quote stands in the middle of a text, in words; None where there is no quote at all."""
    if not _has_quote(path):
        return None
    with path.open(encoding="utf-8", errors="replace", newline="\n") as handle:
        number = next((number for number, line in enumerate(handle, start=1) if INSIDE.search(line)), None)
    return "somewhere" if number is None else f"in line {number}"


def _lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines without a CR inside, which ends a line for Python and not for polars."""
    for line in lines:
        yield line if line.find("\r", 0, -2) < 0 else line[:-2].replace("\r", " ") + line[-2:]


def _has_quote(path: Path) -> bool:
    with path.open("rb") as handle:
        if not path.stat().st_size:
            return False
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"') >= 0
