"""Ranks of the true item, ties averaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from decorec.errors import DecorecError
from decorec.evaluation.ranking import ranks


def draw(users: int, items: int, levels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with ``levels`` different values, and targets."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (users, items), generator=generator).float() / 7
    return scores, torch.randint(0, items, (users,), generator=generator)


@pytest.mark.parametrize("levels", [1, 2, 5, 40, 1_000_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_ranks_are_those_of_averaged_ties(levels: int, dtype: torch.dtype) -> None:
    scores, target = draw(60, 37, levels)
    scores = scores.to(dtype)
    expected = [
        rankdata(-row, method="average")[item] for row, item in zip(scores.double().numpy(), target, strict=True)
    ]
    found = ranks(scores, target)
    assert found.dtype == torch.float64
    assert found.shape == (60,)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_ranks_without_ties_are_places_in_the_sorted_list() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.stack([torch.randperm(50, generator=generator) for _ in range(40)]).double()
    target = torch.randint(0, 50, (40,), generator=generator)
    order = scores.argsort(dim=1, descending=True)
    places = (order == target[:, None]).nonzero()[:, 1] + 1
    np.testing.assert_array_equal(ranks(scores, target).numpy(), places.double().numpy())


@pytest.mark.parametrize("items", [1, 2, 9, 10])
def test_constant_scores_give_the_middle(items: int) -> None:
    target = torch.arange(items)
    found = ranks(torch.full((items, items), 0.3), target)
    assert found.tolist() == [(items + 1) / 2] * items


def test_rank_is_the_mean_over_random_orders_of_ties() -> None:
    scores, target = draw(30, 20, 3, seed=1)
    generator = torch.Generator().manual_seed(2)
    total = torch.zeros(30, dtype=torch.float64)
    for _ in range(4_000):
        total += ranks(scores + 0.01 * torch.rand(scores.shape, generator=generator), target)
    assert (total / 4_000 - ranks(scores, target)).abs().max() < 0.4


def test_masked_items_rank_last_and_infinities_are_in_order() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 0.5, torch.inf], [-torch.inf, -torch.inf, 2.0, 1.0]])
    assert ranks(scores, torch.tensor([2, 0])).tolist() == [3.0, 3.5]


def test_users_do_not_influence_each_other() -> None:
    scores, target = draw(20, 15, 6)
    parts = [ranks(scores[start : start + 7], target[start : start + 7]) for start in range(0, 20, 7)]
    assert torch.equal(torch.cat(parts), ranks(scores, target))


def test_small_integer_targets_are_accepted() -> None:
    scores, target = draw(20, 15, 6)
    assert torch.equal(ranks(scores, target.int()), ranks(scores, target))


def test_nan_is_refused() -> None:
    scores, target = draw(5, 4, 3)
    scores[1, 2] = scores[3, 0] = torch.nan
    with pytest.raises(DecorecError, match=r"2 of 5 users.*NaN"):
        ranks(scores, target)
