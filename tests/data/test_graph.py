"""Normalised matrices against the dense formulas."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse

from decorec.data.graph import normalise


def matrix() -> Any:
    """Symmetric, with an item that has no neighbours."""
    random = np.random.default_rng(0)
    dense = random.random((6, 6)) * (random.random((6, 6)) < 0.6)
    dense = np.triu(dense, 1)
    dense[:, 3] = dense[3] = 0
    return scipy.sparse.csr_matrix((dense + dense.T).astype(np.float32))


@pytest.mark.parametrize("kind", ["symmetric", "row", "released"])
def test_equals_the_dense_formula(kind: Literal["symmetric", "row", "released"]) -> None:
    source = matrix()
    dense = source.toarray().astype(np.float64)
    degree = dense.sum(axis=1)
    with np.errstate(divide="ignore"):
        whole, root = (np.where(degree > 0, degree**power, 0) for power in (-1.0, -0.5))
    expected = {
        "symmetric": np.diag(root) @ dense @ np.diag(root),
        "row": np.diag(whole) @ dense,
        "released": np.diag(whole) @ dense @ np.diag(whole),
    }[kind]
    found = normalise(source, kind)
    assert found.dtype == np.float32 and found.format == "csr"
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6, atol=1e-9)
    assert not found.toarray()[3].any() and not found.toarray()[:, 3].any()


def test_rows_sum_to_one() -> None:
    sums = np.asarray(normalise(matrix(), "row").sum(axis=1)).ravel()
    np.testing.assert_allclose(np.delete(sums, 3), 1, rtol=1e-6)
    assert sums[3] == 0


def test_the_source_is_left_alone() -> None:
    source = matrix()
    before = source.toarray()
    normalise(source, "symmetric")
    assert (source.toarray() == before).all()
