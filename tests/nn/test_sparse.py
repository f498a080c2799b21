"""The product with a sparse matrix."""

from __future__ import annotations

import pytest
import torch

from decorec.nn import sparse


@pytest.mark.parametrize("slice_size", [1, 40 * 17, 1 << 18])
def test_sparse_product_in_slices_equals_the_dense_one(slice_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "SLICE", slice_size)
    torch.manual_seed(0)
    dense = torch.randn(40, 40).double() * (torch.rand(40, 40) < 0.2)
    matrix = dense.to_sparse_csr()
    propagation = sparse.Propagation(matrix.crow_indices(), matrix.col_indices(), matrix.values())
    x = torch.randn(40, 50, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(40, 50, dtype=torch.float64)
    out = propagation(x)
    torch.testing.assert_close(out, dense @ x)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(gradient, dense.T @ weight)
