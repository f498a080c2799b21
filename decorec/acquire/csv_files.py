"""Checks of csv and tsv files that the reader of the tables does not make: encoding, separators, line ends, and quotes.

The reader takes a stray quote for the start of a field that goes on over the next lines, and says nothing of the rows
that it swallows. A gzipped file is unpacked while it is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import TextIO

import numpy as np

from decorec.acquire.gzip_files import unpacked
from decorec.data.interactions import shortened
from decorec.errors import DecorecError

__all__ = [
    "Survey",
    "check_csv",
    "check_encoding",
    "check_header",
    "check_widths",
    "lone_quote",
    "survey",
]

BEGINNING = 1 << 16
BLOCK = 1 << 20
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
SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
ENDINGS = {",": ".csv", "\t": ".tsv"}
"""Separator of the fields -> what the name of such a file ends in."""
INSIDE = r'[^"{0}]"[^"{0}\r\n]'
"""A quote in the middle of a text that is not in quotes, where fields have the separator {0}: inside of quotes it is
doubled."""


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """The lines of a file; what is not UTF-8 is replaced."""
    with unpacked(path) as handle, io.TextIOWrapper(handle, "utf-8", "replace", "\n") as text:
        yield text


def check_csv(path: Path) -> None:
    """Check that a csv file is UTF-8 text, as far as its beginning says so, with lines that end in LF or CR LF.

    Raises:
        DecorecError: it is packed, a spreadsheet or UTF-16, or its lines end in CR alone.
    """
    with unpacked(path) as handle:
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


def check_header(path: Path, names: Sequence[str], fields: Collection[str], separator: str = ",") -> None:
    """Check the ``names`` of the columns as polars reads them, of which the ``fields`` are needed.

    Raises:
        DecorecError: there is another separator, or a column that is needed is there twice.
    """
    if len(names) == 1:
        own = f"{SEPARATORS[separator]}s"
        other = next((one for one in SEPARATORS if one in names[0]), None)
        if other is not None:
            ending = ENDINGS.get(other)
            raise DecorecError(
                f"{path}, line 1: expected names with {own} between them, found {SEPARATORS[other]}s: "
                f"{shortened(names[0])!r}; save the file with {own}" + (f", or call it {ending}" if ending else "")
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
    with unpacked(path) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                shown = line[max(0, error.start - SHOWN) : error.start + SHOWN].strip()
                raise DecorecError(
                    f"{path}, line {number}: expected UTF-8 text, found {shown!r}; save the file as UTF-8"
                ) from error


@dataclass(frozen=True)
class Survey:
    """What one look at all records of a csv file has found."""

    records: int
    """Without the header. As for polars, a blank line is one, but not before the header."""
    wide: DecorecError | None
    """Names the first record with more fields than the header."""
    broken: DecorecError | None
    """Names the line where the rest of the first record stands that a line break in a field without quotes has broken.

    A record with fewer fields than the header is not broken for that alone: some programs leave out empty fields at the
    end. It is if it begins with several words in place of an id, and is nothing else or has with the one before it all
    the fields.
    """


def survey(path: Path, separator: str = ",") -> Survey:
    """Look at all records of a csv file, or of one with another separator.

    Raises:
        DecorecError: a quoted field is followed by something other than a separator or the end of the line.
    """
    csv.field_size_limit(LONGEST_FIELD)
    records, before = 0, 0
    wide = broken = None
    word = SEPARATORS[separator]
    with _text(path) as handle:
        reader = csv.reader(_lines(handle), delimiter=separator, strict=True)
        try:
            lines = dropwhile(lambda record: not record, reader)
            width = len(next(lines, []))
            for record in lines:
                records += 1
                found = len(record)
                if not found:
                    continue
                if found > width and wide is None:
                    wide = _too_wide(path, reader.line_num, width, found, separator)
                rest = found < width and " " in record[0].strip() and (found == 1 or before + found == width + 1)
                if rest and broken is None:
                    broken = DecorecError(
                        f"{path}, line {reader.line_num}: expected {width} fields as in the header, found {found}, "
                        "which seem to be the rest of the line before; put fields with line breaks in quotes, and "
                        f"write the {word}s of empty fields"
                    )
                before = found
        except csv.Error as error:
            raise DecorecError(
                f"{path}, line {reader.line_num}: expected a {word} or the end of the line after a closing quote, "
                f'found something else ({error}); inside of a quoted field, write a quote twice ("")'
            ) from error
    return Survey(records, wide, broken)


def check_widths(path: Path, separator: str = ",", *, quoted: bool = True) -> bool:
    """Check that no record of a csv file, or of one with another separator, has more fields than its header.

    This is the faster look: it counts separators. Where fields may be ``quoted`` it ends at the first quote, behind
    which a ``survey`` alone can tell fields apart.

    Returns:
        Whether it came to the end.

    Raises:
        DecorecError: one has more; the message names its line.
    """
    between, width, first = separator.encode(), 0, 1
    with unpacked(path) as handle:
        while block := handle.read(BLOCK) + handle.readline():
            if quoted and b'"' in block:
                return False
            if not width:
                width = next((line.count(between) + 1 for line in block.split(b"\n") if line.strip(b"\r")), 0)
            letters = np.frombuffer(block, np.uint8)
            ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
            fields = np.diff(np.searchsorted(np.flatnonzero(letters == ord(separator)), ends), prepend=0) + 1
            if width and len(wide := np.flatnonzero(fields > width)):
                raise _too_wide(path, first + int(wide[0]), width, int(fields[wide[0]]), separator, quoted)
            first += block.count(b"\n")
    return True


def _too_wide(path: Path, line: int, width: int, found: int, separator: str, quoted: bool = True) -> DecorecError:
    word = SEPARATORS[separator]
    advice = f"put fields that hold a {word} in quotes" if quoted else f"take the {word}s out of fields"
    return DecorecError(f"{path}, line {line}: expected {width} fields as in the header, found {found}; {advice}")


def lone_quote(path: Path, separator: str = ",") -> str | None:
    """Where the first quote stands in the middle of a text, in words; None where there is no quote at all."""
    inside = re.compile(INSIDE.format(separator))
    found = None
    with _text(path) as handle:
        for number, line in enumerate(handle, start=1):
            if inside.search(line):
                return f"in line {number}"
            if found is None and '"' in line:
                found = "somewhere"
    return found


def _lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines without a CR inside, which ends a line for Python and not for polars."""
    for line in lines:
        text = line.removesuffix("\n").removesuffix("\r")
        yield line if "\r" not in text else text.replace("\r", " ") + line[len(text) :]
