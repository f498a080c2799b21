"""oneDNN products against torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from decorec.nn import matmul
from decorec.nn.matmul import Linear, _suits, gram, product


@pytest.fixture(autouse=True, params=[1, matmul.SMALLEST], ids=["oneDNN", "by size"])
def smallest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product by oneDNN, and only the large ones."""
    monkeypatch.setattr(matmul, "SMALLEST", request.param)


def test_the_products_are_used_on_this_machine() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    assert _suits(torch.randn(600, 600), torch.randn(600, 600))
    assert _suits(torch.randn(60, 60), torch.randn(60, 60)) == (matmul.SMALLEST == 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(400, 96), (2, 200, 96), (3, 96)])
def test_layer_and_gradients_equal_torch(dtype: torch.dtype, bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(96, 80, bias=bias, dtype=dtype), nn.Linear(96, 80, bias=bias, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(*shape, dtype=dtype)
    weight = torch.randn(*shape[:-1], 80, dtype=dtype)
    results = []
    for layer in (ours, theirs):
        copy = x.clone().requires_grad_()
        out = layer(copy)
        gradients = torch.autograd.grad((out * weight).sum(), [copy, *layer.parameters()])
        results.append([out, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_product_of_transposed_views() -> None:
    left, right = torch.randn(500, 300), torch.randn(500, 200)
    torch.testing.assert_close(product(left.T, right.T), left.T @ right, rtol=1e-5, atol=1e-3)


def test_factors_with_gaps_between_rows_or_columns() -> None:
    left, right, weight = torch.randn(500, 300)[:, :100], torch.randn(500, 200)[:, 100:], torch.randn(80, 300)[:, :100]
    torch.testing.assert_close(gram(left, right), left.T @ right, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(product(left, weight), left @ weight.T, rtol=1e-5, atol=1e-3)
