"""Source sql: two queries of a database, PostgreSQL through ADBC, or a file of DuckDB.

PostgreSQL's own library finds the password: in the environment variable PGPASSWORD or in the file ~/.pgpass. It never
stands in the configuration, and this program does not see it. DuckDB's file is opened to be read only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.addresses import without_passwords
from decorec.acquire.sources.files import NOTHING_LOST, Opened, TableFile
from decorec.acquire.sources.tables import Table, Tables
from decorec.config.datasets import SqlDataset
from decorec.errors import DecorecError

__all__ = ["opened"]

DUCKDB = "duckdb:"


def opened(dataset: SqlDataset) -> Tables:
    """The results of the two queries."""
    return _Queries(
        interactions=Table(_Query(dataset.database, "interactions", dataset.interactions)),
        items=Table(_Query(dataset.database, "items", dataset.items)),
        unreadable=dataset.unreadable,
        pictured=dataset.pictures,
    )


@dataclass(frozen=True)
class _Queries(Tables):
    """Tables that are not looked at while the workflow is planned: the database may be far, and its answer changes."""

    pictured: bool

    def picture_names(self) -> list[str]:
        return []

    def has_pictures(self) -> bool:
        return self.pictured


@dataclass(frozen=True)
class _Query(TableFile):
    database: str
    key: str
    query: str

    @property
    def origin(self) -> str:
        return f"{without_passwords(self.database)}, query {self.key}"

    def paths(self) -> list[Path]:
        return [] if self._file is None else [self._file]

    @property
    def _file(self) -> Path | None:
        """The file of a DuckDB."""
        if not self.database.startswith(DUCKDB):
            return None
        name = self.database.removeprefix(DUCKDB)
        return Path(name.removeprefix("//") if name.startswith("///") else name)

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        found = self._from_postgres(what) if self._file is None else self._from_duckdb(self._file, what)
        extended = [name for name, dtype in found.schema.items() if isinstance(dtype, pl.BaseExtension)]
        try:
            yield found.lazy().with_columns(pl.col(name).ext.storage() for name in extended), NOTHING_LOST
        except pl.exceptions.PolarsError as error:
            raise self._failed(what, error) from None

    def _from_postgres(self, what: str) -> pl.DataFrame:
        postgres = import_module("adbc_driver_postgresql.dbapi")
        try:
            with closing(postgres.connect(self.database)) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(self.query)
                return _frame(cursor.fetch_arrow())
        except postgres.Error as error:
            raise self._failed(what, error) from None

    def _from_duckdb(self, file: Path, what: str) -> pl.DataFrame:
        duckdb = import_module("duckdb")
        if not file.is_file():
            raise DecorecError(f"{file}: expected a file of DuckDB, found no such file; correct the address")
        try:
            with closing(duckdb.connect(str(file), read_only=True)) as connection:
                return _frame(connection.sql(self.query))
        except duckdb.Error as error:
            raise self._failed(what, error) from None

    def _failed(self, what: str, error: Exception) -> DecorecError:
        said = " ".join(without_passwords(str(error)).split())
        return DecorecError(
            f"{self.origin}: expected {what}, found an error of the database ({said}); correct the address, the "
            "password (PGPASSWORD or ~/.pgpass) or the query"
        )


def _frame(result: Any) -> pl.DataFrame:
    """What stands behind Arrow's interface for streams."""
    return pl.DataFrame(result)
