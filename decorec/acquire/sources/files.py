"""Tables as files hold them, csv, tsv, parquet and JSON lines, with their columns as they are named there."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from decorec.acquire.csv_files import (
    ENDINGS,
    check_csv,
    check_encoding,
    check_header,
    check_widths,
    lone_quote,
    survey,
)
from decorec.acquire.json_lines import read_records, reading
from decorec.acquire.sources.losses import lines_not_json
from decorec.data.interactions import Account
from decorec.errors import DecorecError

__all__ = [
    "NOTHING_LOST",
    "Csv",
    "JsonLines",
    "LocalTable",
    "Opened",
    "Parquet",
    "TableFile",
    "expect_folder",
    "is_table",
    "joined",
    "table_file",
]

Opened = tuple[pl.LazyFrame, Account]
"""The rows in the order of the source, with the columns asked for, as far as there are such; and what was lost of them
in reading: counts of lines, and records dropped or repaired by reason."""
NOTHING_LOST = Account({}, {}, {})
PARQUET = ".parquet"
TABLES = (".csv", ".tsv", ".parq", ".pq", ".orc", ".avro", ".arrow", ".feather", ".jsonl", ".gz", ".zip", ".xlsx")
"""Endings of files that may be parts of a table."""
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a folder."""


class TableFile(ABC):
    """A table of a source."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where it is, for messages."""

    @abstractmethod
    def paths(self) -> list[Path]:
        """The files that it is read from."""

    @abstractmethod
    def opened(self, what: str, fields: Sequence[str]) -> AbstractContextManager[Opened]:
        """At least the columns ``fields``; a failure to read ``what``, also within the context, becomes one message.

        Raises:
            DecorecError: it is missing, damaged or of another format.
        """

    def expect_records(self, found: int, *, unbroken: bool = False) -> None:
        """Check that ``found`` is the number of its records; one look at a file, which may be packed.

        ``unbroken``: and that no record is broken in two, where nothing else would show it.

        Raises:
            DecorecError: the reader has swallowed some, or taken a field for that of another column; or one is broken.
        """
        return None  # most readers do nothing of this


@dataclass(frozen=True)
class LocalTable(TableFile):
    """A table at one path: one file, where ``paths`` does not say otherwise."""

    path: Path

    @property
    def origin(self) -> str:
        return str(self.path)

    def paths(self) -> list[Path]:
        return [self.path]


def table_file(path: Path) -> TableFile:
    """A table of the user's own: a csv or tsv file, packed or not, a parquet file, or a folder of parquet files."""
    return Parquet(path) if path.suffix.lower() == PARQUET or path.is_dir() else Csv(path)


def is_table(path: Path) -> bool:
    """Whether the name of a file is that of such a table."""
    return _ending(path) in (PARQUET, *ENDINGS.values())


def _ending(path: Path) -> str:
    """What the name of a file ends in, without .gz behind it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


@dataclass(frozen=True)
class Csv(LocalTable):
    """A csv file, or a tsv file, which has tabs in place of the commas; gzipped or not.

    Values are read as text, so that ids keep leading zeros, and names lose blanks around them.
    """

    @property
    def separator(self) -> str:
        """What stands between the fields."""
        return next((one for one, ending in ENDINGS.items() if ending == _ending(self.path)), ",")

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        with reading(self.path, what):
            if _ending(self.path) not in ENDINGS.values():
                named = self.path.suffix.lower() in (".inter", ".item")
                advice = "; files of RecBole are the source recbole, for MMRec's see docs/how-to/sources.md"
                raise DecorecError(
                    f"{self.path}: expected a name ending in .csv, .tsv (also with .gz behind it) or .parquet, found "
                    f"{self.path.suffix!r}; convert the file{advice if named else ''}"
                )
            check_csv(self.path)
            try:
                table = pl.scan_csv(self.path, separator=self.separator, infer_schema=False, glob=False)
                check_header(self.path, table.collect_schema().names(), fields, self.separator)
                yield _stripped(self.path, table), NOTHING_LOST
            except pl.exceptions.ComputeError as error:  # wrong quotes or too many fields: the line is named
                check_encoding(self.path)
                if (wide := survey(self.path, self.separator).wide) is not None:
                    raise wide from error
                if lone_quote(self.path, self.separator) is None:
                    raise
                raise self._quoted("rows with quotes around whole fields", "others") from error

    def expect_records(self, found: int, *, unbroken: bool = False) -> None:
        with reading(self.path, "a table"):
            if not unbroken and check_widths(self.path, self.separator):
                return
            seen = survey(self.path, self.separator)
        if seen.records != found and lone_quote(self.path, self.separator) is not None:
            raise self._quoted(f"{seen.records} records", str(found))
        for problem in (seen.wide, seen.broken if unbroken else None):
            if problem is not None:
                raise problem

    def _quoted(self, expected: str, found: str) -> DecorecError:
        where = lone_quote(self.path, self.separator)
        return DecorecError(
            f"{self.path}: expected {expected}, found {found}: a quote stands alone {where}, and rows "
            'behind it were taken for one field; put such fields in quotes and write a quote inside of them twice ("")'
        )


@dataclass(frozen=True)
class Parquet(LocalTable):
    """A parquet file, or a folder of them with equal columns, one after the other in the order of their names.

    Folders such as ``day=2020-09-13`` within it are columns as well, of texts. Names that begin with a dot or an
    underscore are not data, as the programs that write such folders mean it.
    """

    def paths(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        inside = [path for path in self._inside() if path.suffix.lower() == PARQUET]
        return [path for path in sorted(inside, key=_by_numbers) if path.is_file()]

    def _inside(self) -> Iterator[Path]:
        """All that may be data in the folder."""
        for path in self.path.rglob("*"):
            if not any(part.startswith((".", "_")) for part in path.relative_to(self.path).parts):
                yield path

    def _expect_parquet(self) -> None:
        """Refuse tables in the folder that would be left out."""
        for path in self._inside():
            linked = path.is_symlink() and path.is_dir()
            if linked or (path.suffix.lower() in TABLES and path.is_file()):
                raise DecorecError(
                    f"{self.path}: expected parquet files, found {path.relative_to(self.path)} as well, "
                    f"{'a link to a folder' if linked else 'a table of another format'}, which would be left out; "
                    f"{'put the folder itself there' if linked else 'convert it'}, or take it out"
                )

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        if not self.path.is_dir():
            with reading(self.path, what):
                yield _stripped(self.path, pl.scan_parquet(self.path, glob=False)), NOTHING_LOST
            return
        parts = {path: self._part(path, what) for path in self.paths()}
        if not parts:
            raise DecorecError(
                f"{self.path}: expected {what}, found a folder without parquet files; write them into it"
            )
        self._expect_parquet()
        schemas = {path: part.collect_schema() for path, part in parts.items()}
        first = next(iter(parts))
        for path, schema in schemas.items():
            for name in fields:
                if schema.get(name) != schemas[first].get(name):
                    raise DecorecError(
                        f"{path}, column {name!r}: expected {schemas[first].get(name, 'none')} as in {first}, found "
                        f"{schema.get(name, 'none')}; write all files of the folder with the same columns"
                    )
        read = [name for name in schemas[first] if name in fields]
        others = {name for schema in schemas.values() for name in schema} - set(read)
        parts = {path: part.select(read) for path, part in parts.items()}
        try:
            yield joined(list(parts.values()), others), NOTHING_LOST
        except (OSError, pl.exceptions.PolarsError):
            for path, part in parts.items():  # the damaged one is named
                with reading(path, what):
                    part.collect(engine="streaming")
            raise

    def _part(self, path: Path, what: str) -> pl.LazyFrame:
        """One file, with the columns that its folders name."""
        pairs = (folder.partition("=") for folder in path.relative_to(self.path).parts[:-1])
        named = {name: None if value == NO_PARTITION else unquote(value) for name, is_one, value in pairs if is_one}
        with reading(path, what):
            return _stripped(path, pl.scan_parquet(path, glob=False)).with_columns(
                pl.lit(value, pl.String).alias(name) for name, value in named.items()
            )


def _by_numbers(path: Path) -> list[tuple[str, int]]:
    """So that part-10 comes behind part-2."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", str(path))]


def joined(parts: Sequence[pl.LazyFrame], others: Iterable[str]) -> pl.LazyFrame:
    """The rows of all parts; columns that were not read stand there empty, so that a message names them."""
    return pl.concat(parts).with_columns(pl.lit(None).alias(name) for name in sorted(others))


@dataclass(frozen=True)
class JsonLines(LocalTable):
    """A file with one JSON object per line, gzipped or not; every field is read as text."""

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        rows, counts = read_records(self.path, fields, what, lambda records: records, packed=False)
        lost = Account(
            {"lines": counts["lines"]},
            {name: counts[name] for name in ("not JSON", "line too long")},
            {"undecodable characters": counts["undecodable characters"]},
            {"not JSON": partial(lines_not_json, self.path)},
        )
        with reading(self.path, what):
            yield rows.lazy(), lost


def expect_folder(folder: Path, what: str, key: str) -> None:
    """Check that the folder of pictures is there that the ``key`` of the data set names.

    Raises:
        DecorecError: it is missing: all pictures would be.
    """
    if not folder.is_dir():
        raise DecorecError(
            f"{folder}: expected the folder with the {what}, found no such folder; correct datasets.<name>.{key}, or "
            f"write {key}: null for a data set without pictures"
        )


def _stripped(path: Path, table: pl.LazyFrame) -> pl.LazyFrame:
    """The table with the names of its columns without blanks around them."""
    names = table.collect_schema().names()
    stripped = [name.strip() for name in names]
    if len(set(stripped)) < len(names):
        raise DecorecError(f"{path}: expected each column once, found {', '.join(map(repr, names))}; rename one")
    return table.rename(dict(zip(names, stripped, strict=True)))
