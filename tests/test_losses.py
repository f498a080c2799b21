"""The fused loss against naive versions in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from decorec import losses
from decorec.losses import cross_modal_loss


def naive(states: Tensor, candidates: Tensor, targets: Tensor, temperature: float, alpha: float) -> Tensor:
    """Eq. 12 to 15 term by term, with plain exponentials."""
    modalities, predictions, _ = states.shape
    total = states.new_zeros(())
    for p in range(predictions):
        for m in range(modalities):
            logits = [[states[m, p] @ row / temperature for row in candidates[n]] for n in range(modalities)]
            numerator = sum(torch.exp(logits[n][targets[p]] * (1.0 if n == m else alpha)) for n in range(modalities))
            denominator = sum(torch.exp(value) for rows in logits for value in rows)
            total = total - torch.log(numerator / denominator)
    return total / predictions


@pytest.mark.parametrize("modalities", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("block", [1 << 22, 40])
def test_loss_and_gradients_equal_the_naive_version(
    modalities: int, alpha: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TILE", block)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(modalities, 7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    candidates = torch.randn(modalities, 9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(9, (7,), generator=generator)
    fused = cross_modal_loss(states, candidates, targets, 0.7, alpha)
    expected = naive(states, candidates, targets, 0.7, alpha)
    assert fused.item() == pytest.approx(expected.item(), rel=1e-12)
    ours = torch.autograd.grad(3 * fused, (states, candidates))
    theirs = torch.autograd.grad(3 * expected, (states, candidates))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_one_modality_is_cross_entropy() -> None:
    states, candidates = torch.randn(1, 20, 8), torch.randn(1, 30, 8)
    targets = torch.randint(30, (20,))
    expected = torch.nn.functional.cross_entropy(states[0] @ candidates[0].T, targets)
    torch.testing.assert_close(cross_modal_loss(states, candidates, targets, 1.0, 1.0), expected)


def test_large_logits_stay_finite() -> None:
    states, candidates = torch.full((2, 3, 4), 100.0), torch.full((2, 5, 4), 100.0)
    candidates[:, 1] = -100.0
    loss = cross_modal_loss(states, candidates, torch.tensor([0, 1, 2]), 0.01, 1.0)
    assert torch.isfinite(loss)


def test_no_gradient_is_computed_where_none_is_needed() -> None:
    states, candidates = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    assert not cross_modal_loss(states, candidates, torch.tensor([0, 1, 2]), 2.0, 0.5).requires_grad
