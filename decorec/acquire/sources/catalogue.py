"""Makes items.parquet from the records of a source, in several processes, because cleaning texts is plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from typing import Any

import polars as pl

from decorec.acquire.sources.source import ITEM_SCHEMA, Row
from decorec.progress import progress

__all__ = ["make_catalogue"]

PART = 5_000
TO_JSON = json.JSONEncoder(ensure_ascii=False).encode


def make_catalogue(records: pl.DataFrame, row: Row, threads: int) -> tuple[pl.DataFrame, Counter[str]]:
    """A row of items.parquet for each of ``records``, in their order, and the number of repairs by reason.

    ``row`` must be a function at the top level of a module. At most ``threads`` processes run, and at most one for
    every two parts, because starting a process takes about as long as one part.
    """
    repaired: Counter[str] = Counter()
    made = [pl.DataFrame(schema=ITEM_SCHEMA)]
    processes = min(threads, len(records) // (2 * PART))
    with ExitStack() as stack, progress("texts", len(records), "items") as advance:
        over: Callable[..., Any] = map
        if processes > 1:
            over = stack.enter_context(ProcessPoolExecutor(processes, get_context("spawn"))).map
        for rows, repairs in over(partial(_rows, row), records.iter_slices(PART)):
            made.append(rows)
            repaired += repairs
            advance(len(rows))
    return pl.concat(made, rechunk=True), repaired


def _rows(row: Row, records: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
    repaired: Counter[str] = Counter()
    rows = [row(record, repaired) for record in records.iter_rows(named=True)]
    columns = [_column(name, dtype, [values[name] for values in rows]) for name, dtype in ITEM_SCHEMA.items()]
    return pl.DataFrame(columns), repaired


def _column(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    """A column; lists are passed as JSON, which takes a third of the time."""
    if dtype == pl.String:
        return pl.Series(name, values, dtype)
    return pl.Series(name, map(TO_JSON, values), pl.String).str.json_decode(dtype)
