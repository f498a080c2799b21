"""The fused loss against naive versions in float64."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from decorec.nn import losses
from decorec.nn.division import Division
from decorec.nn.losses import SampledNegatives, cross_modal_loss, intra_modal_loss
from decorec.nn.sampled_softmax import Sampler


def naive(states: Tensor, representations: Tensor, targets: Tensor, temperature: float, alpha: float) -> Tensor:
    """Eq. 12 to 15 term by term, with plain exponentials."""
    modalities, predictions, _ = states.shape
    total = states.new_zeros(())
    for p in range(predictions):
        for m in range(modalities):
            logits = [[states[m, p] @ row / temperature for row in representations[n]] for n in range(modalities)]
            numerator = sum(torch.exp(logits[n][targets[p]] * (1.0 if n == m else alpha)) for n in range(modalities))
            denominator = sum(torch.exp(value) for rows in logits for value in rows)
            total = total - torch.log(numerator / denominator)
    return total / predictions


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("block", "kept"), [(1 << 22, 1 << 26), (40, 1 << 26), (40, 0)])
def test_loss_and_gradients_equal_the_naive_version(
    modalities: int, alpha: float, block: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TILE", block)
    monkeypatch.setattr(losses, "KEPT", kept)
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", block // 8)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(modalities, 7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    representations = torch.randn(modalities, 9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(9, (7,), generator=generator)
    fused = cross_modal_loss(states, representations, targets, 0.7, alpha)
    expected = naive(states, representations, targets, 0.7, alpha)
    assert fused.item() == pytest.approx(expected.item(), rel=1e-12)
    ours = torch.autograd.grad(3 * fused, (states, representations))
    theirs = torch.autograd.grad(3 * expected, (states, representations))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def later_naive(states: Tensor, representations: Tensor, targets: Tensor) -> Tensor:
    """The naive loss of every target [P, K], over its distance."""
    total, weight = states.new_zeros(()), 0.0
    for prediction, row in enumerate(targets.tolist()):
        for distance, target in enumerate(row, 1):
            if target >= 0:
                loss = naive(states[:, prediction, None], representations, torch.tensor([target]), 1.0, 0.4)
                total, weight = total + loss / distance, weight + 1 / distance
    return total / weight


@pytest.mark.parametrize("drawn", [None, SampledNegatives(torch.tensor([1, 5, 8]), torch.tensor([0.3, -0.5, 0.1]))])
@pytest.mark.parametrize("block", [1 << 22, 40])
def test_later_targets_count_by_their_distance(
    drawn: SampledNegatives | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TILE", block)
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", block // 8)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    representations = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[3, 5, 0], [5, 0, -1], [0, -1, -1], [8, 8, 1]])
    fused = cross_modal_loss(states, representations, targets, 1.0, 0.4, drawn)
    expected = (
        later_naive(states, representations, targets)
        if drawn is None
        else sampled_naive(states, representations, targets, drawn)
    )
    assert fused.item() == pytest.approx(expected.item(), rel=1e-12)
    ours = torch.autograd.grad(fused, (states, representations))
    theirs = torch.autograd.grad(expected, (states, representations))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_one_modality_is_cross_entropy() -> None:
    states, representations = torch.randn(1, 20, 8), torch.randn(1, 30, 8)
    targets = torch.randint(30, (20,))
    expected = torch.nn.functional.cross_entropy(states[0] @ representations[0].T, targets)
    torch.testing.assert_close(cross_modal_loss(states, representations, targets, 1.0, 1.0), expected)


def test_alpha_0_is_not_retrieval_within_each_modality() -> None:
    """Two items, of which the first is the target: exponentials 2 and 1 as texts, 3 and 1 as pictures."""
    states = torch.ones(2, 1, 1, dtype=torch.float64)
    representations = torch.tensor([[2.0, 1.0], [3.0, 1.0]], dtype=torch.float64).log()[..., None].requires_grad_()
    targets = torch.tensor([0])
    whole = 2 + 1 + 3 + 1
    apart = intra_modal_loss(states, representations, targets, 1.0)
    assert apart.item() == pytest.approx(np.log(3 / 2) + np.log(4 / 3), rel=1e-12)
    zero = cross_modal_loss(states, representations, targets, 1.0, 0.0)
    assert zero.item() == pytest.approx(np.log(whole / (2 + 1)) + np.log(whole / (3 + 1)), rel=1e-12)
    (within,) = torch.autograd.grad(apart, representations)
    assert within[..., 0].tolist() == [pytest.approx([2 / 3 - 1, 1 / 3]), pytest.approx([3 / 4 - 1, 1 / 4])]
    (pushed,) = torch.autograd.grad(zero, representations)
    # The state of the texts pushes the target's picture away (3 / 7), and the other way round (2 / 7).
    expected = [[2 * 2 / whole - 2 / 3, 2 / whole], [2 * 3 / whole - 3 / 4, 2 / whole]]
    assert pushed[..., 0].tolist() == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize("drawn", [None, SampledNegatives(torch.tensor([1, 5, 8]), torch.tensor([0.3, -0.5, 0.1]))])
def test_within_each_modality_the_loss_is_the_sum_of_that_of_each(drawn: SampledNegatives | None) -> None:
    states, representations = torch.randn(3, 7, 5).double(), torch.randn(3, 9, 5).double()
    targets = torch.tensor([[3, 5, 0], [5, 0, -1], [0, -1, -1], [8, 8, 1], [2, 4, 6], [7, -1, -1], [1, 2, 3]])
    one_by_one = [
        cross_modal_loss(states[m : m + 1], representations[m : m + 1], targets, 0.7, 1.0, drawn) for m in range(3)
    ]
    found = intra_modal_loss(states, representations, targets, 0.7, drawn)
    torch.testing.assert_close(found, sum(one_by_one))


class Threads(Division):
    """Threads that divide the items, as processes do."""

    meeting: ClassVar[threading.Barrier]
    brought: ClassVar[dict[int, Tensor]]

    def _brought(self, x: Tensor) -> Tensor:
        """What all have brought, [threads, ...]; after the second meeting another thing can be."""
        self.brought[self.number] = x.clone()
        self.meeting.wait()
        together = torch.stack([self.brought[number] for number in range(self.count)])
        self.meeting.wait()
        return together

    def total(self, x: Tensor) -> Tensor:
        return self._brought(x).sum(0)

    def largest(self, x: Tensor) -> Tensor:
        return self._brought(x).amax(0)


def divided(
    loss: Callable[..., Tensor], states: Tensor, representations: Tensor, targets: Tensor, cuts: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients where threads have the items; ``cuts`` are the ends of their parts of the predictions."""
    Threads.meeting, Threads.brought = threading.Barrier(len(cuts)), {}

    def part(number: int) -> tuple[Tensor, Tensor, Tensor]:
        division = Threads(number, len(cuts), representations.shape[1])
        mine = slice(([0, *cuts])[number], cuts[number])
        own = states[:, mine].detach().requires_grad_(), representations[:, division.items].detach().requires_grad_()
        try:
            found = loss(*own, targets[mine], division=division)
        except BaseException:
            Threads.meeting.abort()
            raise
        return (found.detach(), *torch.autograd.grad(3 * found, own))

    with ThreadPoolExecutor(len(cuts)) as pool:
        parts = list(pool.map(part, range(len(cuts))))
    each, of_states, of_items = zip(*parts, strict=True)
    return torch.stack(each).sum(), torch.cat(of_states, 1), torch.cat(of_items, 1)


LOSSES = [partial(cross_modal_loss, temperature=0.7, alpha=0.4), partial(intra_modal_loss, temperature=0.7)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("cuts", [[3, 7], [2, 2, 7], [1, 2, 3, 4, 5, 6, 7]])
def test_the_parts_of_a_divided_loss_add_up_to_it(
    loss: Callable[..., Tensor], later: bool, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine items for two, three and seven threads, of which one has no prediction."""
    generator = torch.Generator().manual_seed(0)
    states = 20 * torch.randn(2, 7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    representations = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[3, 5, 0], [5, 0, -1], [0, -1, -1], [8, 8, 1], [2, 4, 6], [7, -1, -1], [1, 2, 3]])
    targets = targets if later else targets[:, 0]
    whole = loss(states, representations, targets)
    expected = (whole, *torch.autograd.grad(3 * whole, (states, representations)))
    monkeypatch.setattr(losses, "ROWS_AT_ONCE", 5)
    for mine, other in zip(divided(loss, states, representations, targets, cuts), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_that_divides_the_items_with_nobody_computes_the_same_bytes(loss: Callable[..., Tensor]) -> None:
    states, representations = torch.randn(2, 7, 5, requires_grad=True), torch.randn(2, 9, 5, requires_grad=True)
    targets = torch.tensor([3, 5, 0, 8, 2, 7, 1])
    whole = loss(states, representations, targets)
    expected = (whole, *torch.autograd.grad(3 * whole, (states, representations)))
    for mine, other in zip(divided(loss, states, representations, targets, [7]), expected, strict=True):
        assert torch.equal(mine, other)


def test_large_logits_stay_finite() -> None:
    states, representations = torch.full((2, 3, 4), 100.0), torch.full((2, 5, 4), 100.0)
    representations[:, 1] = -100.0
    loss = cross_modal_loss(states, representations, torch.tensor([0, 1, 2]), 0.01, 1.0)
    assert torch.isfinite(loss)


def test_no_gradient_is_computed_where_none_is_needed() -> None:
    states, representations = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    assert not cross_modal_loss(states, representations, torch.tensor([0, 1, 2]), 2.0, 0.5).requires_grad


def sampled_naive(states: Tensor, representations: Tensor, targets: Tensor, drawn: SampledNegatives) -> Tensor:
    """All targets of a prediction and the sampled items other than these, each of them with its weight; [P, K]."""
    total, weight = states.new_zeros(()), 0.0
    for p, row in enumerate(targets.tolist()):
        found = [target for target in row if target >= 0]
        for m in range(len(states)):
            parts = [torch.exp(states[m, p] @ rows[target]) for target in set(found) for rows in representations]
            for item, correction in zip(drawn.items.tolist(), drawn.log_expected, strict=True):
                if item not in found:
                    parts += [torch.exp(states[m, p] @ rows[item] - correction) for rows in representations]
            scale = torch.full((len(states),), 0.4, dtype=torch.float64)
            scale[m] = 1.0
            for distance, target in enumerate(found, 1):
                own = torch.stack([states[m, p] @ rows[target] for rows in representations])
                total = total + (sum(parts).log() - torch.logsumexp(own * scale, 0)) / distance
        weight += sum(1 / distance for distance in range(1, len(found) + 1))
    return total / weight


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("block", [1 << 22, 16])
def test_sampled_loss_and_gradients(modalities: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "TILE", block)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(modalities, 7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    representations = torch.randn(modalities, 9, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 4, 5, 5])[:, None]
    drawn = SampledNegatives(torch.tensor([1, 5, 8]), torch.tensor([0.3, -0.5, 0.1]))
    fused = cross_modal_loss(states, representations, targets, 1.0, 0.4, drawn)
    expected = sampled_naive(states, representations, targets, drawn)
    assert fused.item() == pytest.approx(expected.item(), rel=1e-12)
    ours = torch.autograd.grad(fused, (states, representations))
    theirs = torch.autograd.grad(expected, (states, representations))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_the_sampled_denominator_is_that_of_all_items_in_expectation() -> None:
    torch.manual_seed(0)
    states, representations = torch.randn(1, 1, 4), torch.randn(1, 30, 4)
    counted = np.random.default_rng(0).integers(0, 30, 200).astype(np.int32)
    sampler = Sampler(counted, 30, 12, 0)
    weights = torch.zeros(30, dtype=torch.float64)
    for _ in range(4000):
        drawn = sampler.draw(torch.device("cpu"))
        weights.index_add_(0, drawn.items, torch.exp(-drawn.log_expected.double()))
    torch.testing.assert_close(weights / 4000, torch.ones(30, dtype=torch.float64), rtol=0.1, atol=0)
    exponentials = torch.exp(representations[0] @ states[0, 0]).double()
    assert float(weights @ exponentials) / 4000 == pytest.approx(float(exponentials.sum()), rel=0.05)


def test_low_precision_stays_close_to_full() -> None:
    torch.manual_seed(0)
    states, representations = torch.randn(2, 60, 32).requires_grad_(), torch.randn(2, 90, 32).requires_grad_()
    targets = torch.randint(90, (60,))
    results = []
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = cross_modal_loss(states, representations, targets, 2.0, 0.5)
        assert loss.dtype == torch.float32
        results.append((loss, *torch.autograd.grad(loss, (states, representations))))
    for full, reduced in zip(*results, strict=True):
        assert reduced.dtype == torch.float32
        assert (full - reduced).norm() < 0.01 * full.norm()
