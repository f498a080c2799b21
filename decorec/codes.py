"""Ids as small integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Codes", "codes_in", "distinct", "factorise", "first_appearances"]

Codes = npt.NDArray[np.int64]


def factorise(values: pl.Series) -> tuple[Codes, pl.Series]:
    """Number the distinct values by first appearance; returns (number of each value, distinct values)."""
    numbered = values.alias("value").to_frame().with_row_index("row")
    first = numbered.select(pl.col("row").min().over("value"))["row"].to_numpy()
    leads = first == np.arange(len(first))
    return (np.cumsum(leads) - 1)[first], values.filter(pl.Series(leads))


def codes_in(values: pl.Series, names: pl.Series) -> Codes:
    """Position of each value in ``names``, -1 where it is not there."""
    table = pl.DataFrame({"value": names}).with_row_index("code")
    joined = values.alias("value").to_frame().join(table, on="value", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()


def distinct(codes: Codes) -> int:
    """How many different codes there are."""
    return int(np.count_nonzero(np.bincount(codes)))


def first_appearances(codes: Codes, count: int) -> Codes:
    """Those of the codes 0 to ``count`` - 1 that occur, in order of first appearance."""
    first = np.full(count, -1, dtype=np.int64)
    # Of several assignments to one place the last one stays: backwards, that is the first appearance.
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    occurring = np.flatnonzero(first >= 0)
    return occurring[np.argsort(first[occurring])]
