"""Ridge regression of every item on all others, in closed form: EASE and its relatives.

Shapes: I items, m items of a neighbourhood. Weights B go from row i to column j: the scores of a history x are x B, and
no item scores itself. Column j of B is the b that solves, with a = all items but j,

    (G_aa + ridge 1) b = G_aj + strength C_aj

G is a Gram matrix: X'X of the users' histories X is EASE (Steck 2019); a^2 F F' of the items' features F added to it is
CEASE (Jeunen et al. 2020). C is a prior mean, and ``ridge`` the sum of that towards 0 and that (``strength``) towards
C: L3AE, FEASE with a prior.

In float64: with a ridge that is small beside the counts, float32 loses all digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.errors import UnfitValuesError

__all__ = ["item_weights", "last_weights"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
COLUMNS = 512
"""Columns that are computed at a time."""


def item_weights(gram: Any, ridge: float, prior: Floats | None = None, strength: float = 0.0) -> Floats:
    """All columns of B from one inverse P = (G + ridge 1)^-1.

    Without a prior B_ij = -P_ij / P_jj. With Q = strength P C it is Q_ij - P_ij (1 + Q_jj) / P_jj. Both are the system
    above without a system for each item (the inverse of a matrix without one row and column).

    Args:
        gram: [I, I], symmetric and positive semidefinite, sparse or dense; a dense float64 array is overwritten.
        ridge: more than 0.
        prior: C [I, I]; its diagonal is not used.
        strength: at least 0.

    Returns:
        [I, I] float32 with a zero diagonal. The inverse takes 8 I^2 bytes, prior and result 4 I^2 each.

    Raises:
        UnfitValuesError: the ridge is too small for the size of the Gram matrix.
    """
    from threadpoolctl import threadpool_limits

    dense = gram if isinstance(gram, np.ndarray) else gram.toarray()
    dense = np.ascontiguousarray(dense, dtype=np.float64)
    dense.flat[:: len(dense) + 1] += ridge
    weights = np.empty(dense.shape, dtype=np.float32)
    with threadpool_limits(limits=1):  # the sums must not depend on the number of cores
        inverse = _inverse(dense, ridge)
        for begin in range(0, len(inverse), COLUMNS):
            part = inverse[:, begin : begin + COLUMNS]
            own = np.arange(part.shape[1])
            found = part / -part[begin + own, own]
            if prior is not None and strength:
                pulled = strength * (inverse @ prior[:, begin : begin + COLUMNS].astype(np.float64))
                found = pulled + found * (1 + pulled[begin + own, own])
            found[begin + own, own] = 0
            weights[:, begin : begin + COLUMNS] = found
    return weights


def last_weights(gram: Doubles, ridge: float, prior: Floats | None = None, strength: float = 0.0) -> Floats:
    """The last column of B without its diagonal, from the items of a neighbourhood alone.

    Args:
        gram: [m + 1, m + 1] float64: m items, and the one that they score as the last.
        ridge: more than 0.
        prior: [m]: the column of C.
        strength: at least 0.

    Returns:
        [m] float32.

    Raises:
        UnfitValuesError: as above.
    """
    from scipy.linalg.lapack import dposv

    right = gram[:-1, -1].copy()
    if prior is not None and strength:
        right += strength * prior
    if not len(right):
        return right.astype(np.float32)
    left = gram[:-1, :-1].copy()
    left.flat[:: len(left) + 1] += ridge
    _, found, failed = dposv(left.T, right, overwrite_a=True, overwrite_b=True)
    _expect_definite(failed, ridge)
    return np.asarray(found, dtype=np.float32)


def _inverse(matrix: Doubles, ridge: float) -> Doubles:
    """The inverse of a symmetric positive definite matrix, in its memory, by Cholesky."""
    from scipy.linalg.lapack import dpotrf, dpotri

    # LAPACK counts columns first, and finds the transpose: the same matrix.
    factor, failed = dpotrf(matrix.T, clean=False, overwrite_a=True)
    _expect_definite(failed, ridge)
    upper, _ = dpotri(factor, overwrite_c=True)
    for begin in range(0, len(upper), COLUMNS):
        end = begin + COLUMNS
        corner = np.triu(upper[begin:end, begin:end])
        upper[begin:end, begin:end] = corner + np.triu(corner, 1).T
        upper[end:, begin:end] = upper[begin:end, end:].T
    found: Doubles = upper
    return found


def _expect_definite(failed: int, ridge: float) -> None:
    if failed:
        raise UnfitValuesError(
            f"ridge: expected a value that makes the Gram matrix positive definite, found {ridge:g}, too small for "
            "its size; raise model.ridge (or model.feature_ridge)"
        )
