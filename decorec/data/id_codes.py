"""Numbers ids with small integers."""

from __future__ import annotations

from itertools import count

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Codes", "codes_in", "distinct", "factorise", "first_appearances", "sorted_by"]

Codes = npt.NDArray[np.int64]


def factorise(values: pl.Series) -> tuple[Codes, pl.Series]:
    """Number the distinct values by first appearance; returns (number of each value, distinct values)."""
    from decorec.data.kernels import number

    values = values.rechunk()
    rows = len(values)
    codes, firsts = np.empty(rows, np.int64), np.empty(rows, np.int64)
    for seed in count():
        # Hashes are numbered instead of strings; two strings with the same hash are detected below.
        slots = 1 << (rows + rows // 2).bit_length()
        found = number(values.hash(seed).to_numpy(writable=True), np.zeros(slots, np.uint32), codes, firsts)
        names = values.gather(firsts[:found])
        if names.gather(codes).eq_missing(values).all():
            return codes, names
    raise AssertionError("unreachable: the seeds do not end")


def codes_in(values: pl.Series, names: pl.Series) -> Codes:
    """Position of each value in ``names``, -1 where it is not there."""
    table = pl.DataFrame({"value": names}).with_row_index("code")
    joined = values.alias("value").to_frame().join(table, on="value", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()


def distinct(codes: Codes) -> int:
    """Number of different codes."""
    from decorec.data.kernels import tally

    return tally(codes, np.zeros(int(codes.max(initial=-1)) + 1, np.int32))


def first_appearances(codes: Codes, count: int) -> Codes:
    """Those of the codes 0 to ``count`` - 1 that occur, in order of first appearance."""
    first = np.full(count, -1, dtype=np.int64)
    # Of several assignments to one place the last one stays; in reverse order that is the first appearance.
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    occurring = np.flatnonzero(first >= 0)
    return occurring[np.argsort(first[occurring])]


def sorted_by(values: Codes, rows: Codes) -> Codes:
    """``rows`` in the order of their ``values``; rows with equal values keep their order."""
    if not len(rows):
        return rows
    keys, bits = values[rows], len(rows).bit_length()
    least, most = int(keys.min()), int(keys.max())
    if most - least >> 63 - bits:
        return rows[np.argsort(keys, kind="stable")]
    # Value and place in one number: sorting it takes a tenth of the time of a stable sort.
    keys = keys - least << bits | np.arange(len(rows))
    keys.sort()
    order: Codes = rows[keys & ((1 << bits) - 1)]
    return order
