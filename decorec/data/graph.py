"""Normalised co-occurrence matrices."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["normalise"]

Floats = npt.NDArray[np.float64]


def normalise(matrix: Any, kind: Literal["symmetric", "row", "released"]) -> Any:
    """Scale the co-occurrence matrix S by its degrees D (sums of rows, D_r, and of columns, D_c).

    symmetric: D_r^-1/2 S D_c^-1/2. row: D_r^-1 S, rows sum to one. released: D_r^-1 S D_c^-1, as the authors' code
    does; its rows sum to much less than one. Items without neighbours keep their zero row.

    Returns:
        scipy CSR float32 of the same shape and sparsity; computed in float64.
    """
    import scipy.sparse

    exact = matrix.tocsr().astype(np.float64)
    rows: Floats = np.asarray(exact.sum(axis=1)).ravel()
    columns: Floats = np.asarray(exact.sum(axis=0)).ravel()
    left, right = {"symmetric": (-0.5, -0.5), "row": (-1.0, 0.0), "released": (-1.0, -1.0)}[kind]
    scaled = scipy.sparse.diags(_power(rows, left)) @ exact @ scipy.sparse.diags(_power(columns, right))
    return scaled.tocsr().astype(np.float32)


def _power(degrees: Floats, exponent: float) -> Floats:
    """``degrees ** exponent``, zero where the degree is zero."""
    return np.power(degrees, exponent, out=np.zeros_like(degrees), where=degrees > 0)
