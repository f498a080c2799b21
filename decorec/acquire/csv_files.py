"""Checks of csv files that the reader of the tables does not make: encoding, line ends, and quotes.

The reader takes a stray quote for the start of a field that goes on over the next lines, and says nothing of the rows
that it swallows.
"""

from __future__ import annotations

import csv
import mmap
from pathlib import Path

from decorec.errors import DecorecError

__all__ = ["check_csv", "check_widths", "count_records"]

BEGINNING = 1 << 16
LONGEST_FIELD = 1 << 30
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def check_csv(path: Path) -> None:
    """Check that a csv file is UTF-8 text with lines that end in LF or CR LF.

    Raises:
        DecorecError: it is UTF-16, or its lines end in CR alone.
    """
    with path.open("rb") as handle:
        start = handle.read(BEGINNING)
    if start.startswith(UTF_16):
        raise DecorecError(f"{path}: expected UTF-8 text, found UTF-16; save the file as UTF-8")
    if b"\r" in start and b"\n" not in start and len(start.split(b"\r")) > 2:
        raise DecorecError(
            f"{path}: expected lines that end in LF or CR LF, found CR alone; save the file with the line ends of Unix "
            "or Windows"
        )


def count_records(path: Path) -> int | None:
    """Records of a csv file, its header aside, where some field is quoted; None where there is no quote at all.

    Raises:
        DecorecError: a quoted field is followed by something other than a comma or the end of the line.
    """
    if not _has_quote(path):
        return None
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="replace", newline="") as handle:
        reader = csv.reader(handle, strict=True)
        try:
            return sum(1 for record in reader if record) - 1
        except csv.Error as error:
            raise DecorecError(
                f"{path}, line {reader.line_num}: expected a comma or the end of the line after a closing quote, found "
                f'something else ({error}); inside of a quoted field, write a quote twice ("")'
            ) from error


def check_widths(path: Path, separator: str = ",") -> None:
    """Check that no record of a csv file, or of one with tabs and without quotes, has more fields than its header.

    Raises:
        DecorecError: one has more; the message names its line.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="replace", newline="") as handle:
        quoted = separator == ","
        reader = csv.reader(handle, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        header = next(reader, [])
        for record in reader:
            if len(record) > len(header):
                advice = "put fields that hold a comma in quotes" if quoted else "take the tabs out of fields"
                raise DecorecError(
                    f"{path}, line {reader.line_num}: expected {len(header)} fields as in the header, found "
                    f"{len(record)}; {advice}"
                )


def _has_quote(path: Path) -> bool:
    with path.open("rb") as handle:
        if not path.stat().st_size:
            return False
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"') >= 0
