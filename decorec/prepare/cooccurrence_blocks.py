"""What counting in one process and on the workers of a cluster have in common: weights, blocks of rows, the matrix."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["matrix_of", "pair_weights", "row_blocks"]


def pair_weights(window: int, distance: str, places: int) -> tuple[npt.NDArray[np.int64], float]:
    """Weights of the distances 0 (weight 0) to ``window`` as integers, and their unit.

    The unit is as small as int64 allows for the largest possible sum: that of an item at ``places`` positions with the
    same other item at all distances on both sides.
    """
    distances = np.arange(1, window + 1)
    exact = {"1/D": 1 / distances, "1/(D+1)": 1 / (distances + 1), "1": np.ones(window)}[distance]
    bits = min(52, 62 - math.ceil(math.log2(max(1.0, 2 * exact.sum() * places))))
    return np.concatenate([[0], np.rint(exact * 2.0**bits)]).astype(np.int64), 2.0**-bits


def row_blocks(pairs: npt.NDArray[np.int64], block: int) -> list[tuple[int, int]]:
    """Divide the rows into blocks of about ``block`` pairs; ``pairs`` [items + 1]: pairs in the rows before."""
    cuts = np.flatnonzero(np.diff(pairs[:-1] // block)) + 1
    return list(pairwise([0, *cuts.tolist(), len(pairs) - 1]))


def matrix_of(
    counts: list[npt.NDArray[np.int64]], columns: npt.NDArray[np.int32], sums: npt.NDArray[np.float32], top: int | None
) -> Any:
    """The matrix from the entries of its rows.

    Args:
        counts: number of entries of each row, block after block.
        columns, sums: the entries, followed by anything; they own their memory and are cut.
        top: whether each row has been reduced to some of its entries; an entry then stays in both of its places.

    Returns:
        CSR float32 [items, items].
    """
    import scipy.sparse

    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    for array in (columns, sums):
        array.resize(ends[-1], refcheck=False)
    matrix = scipy.sparse.csr_matrix((sums, columns, ends), shape=(len(ends) - 1,) * 2)
    matrix.has_canonical_format = True
    # S_ij equals S_ji, so that the larger one is the entry that was kept in one of the two rows, or in both.
    return matrix if top is None else matrix.maximum(matrix.T.tocsr())
