"""Dropout's random numbers."""

from __future__ import annotations

import pytest
import torch

from decorec.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rate_scale_and_gradient(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(301, 333, dtype=dtype, requires_grad=True)
    out = dropout(x, p, True)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.dtype == dtype
    assert torch.equal(gradient, out)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.005)
    assert out[kept].float().unique().item() == pytest.approx(1 / (1 - p), rel=1e-4 if dtype == torch.float32 else 1e-2)
    for lag in (1, 2, 4, 7, 8, 333):  # up to eight neighbours share one random number
        flat = kept.flatten().double()
        both = (flat[lag:] * flat[:-lag]).mean().item()
        assert both == pytest.approx((1 - p) ** 2, abs=0.01)


def test_nothing_happens_at_inference_and_the_seed_decides_in_training() -> None:
    x = torch.randn(50, 7)
    layer = Dropout(0.4)
    assert layer.eval()(x) is x
    layer.train()
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(layer(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
