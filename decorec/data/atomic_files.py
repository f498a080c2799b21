"""Files of the RecBole / UniSRec / MISSRec layout that hold ids: ``<name>.item2index`` and ``<name>.user2index``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from decorec.errors import DecorecError

__all__ = ["read_columns", "read_index"]


def read_columns(path: Path, count: int, what: str, header: bool) -> pl.DataFrame:
    """Tab-separated text without quoting, as ``count`` columns of strings, which are called a, b, c.

    Raises:
        DecorecError: the file is missing, cannot be read, or has another number of columns.
    """
    if not path.is_file():
        raise DecorecError(f"{path}: expected {what}, found no such file; correct path and name of the data set")
    try:
        table = pl.read_csv(path, separator="\t", has_header=header, quote_char=None, infer_schema=False, glob=False)
    except pl.exceptions.PolarsError as error:
        raise DecorecError(
            f"{path}: expected {what}, found a file that cannot be read ({str(error).partition(chr(10))[0]}); write it "
            "again"
        ) from error
    if table.width != count:
        raise DecorecError(f"{path}: expected {what} in {count} tab-separated columns, found {table.width} columns")
    return table.rename(dict(zip(table.columns, "abc", strict=False))).with_columns(pl.all().str.strip_chars())


def read_index(path: Path) -> list[str]:
    """Ids in the order of their index.

    Raises:
        DecorecError: as for ``read_columns``; or an id stands twice, or the indices are not 0 to the number of ids.
    """
    table = read_columns(path, 2, "ids and their indices", header=False)
    table = table.with_columns(pl.col("b").cast(pl.Int64, strict=False)).sort("b", maintain_order=True)
    if not np.array_equal(table["b"].to_numpy(), np.arange(len(table))) or table["a"].n_unique() != len(table):
        raise DecorecError(
            f"{path}: expected each id once, with the indices 0 to {len(table) - 1}, found gaps, repeats or other "
            "values; write the file again"
        )
    return table["a"].to_list()
