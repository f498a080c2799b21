"""Where the true item stands: items scored higher, items scored equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from decorec.errors import DecorecError
from decorec.evaluation.ranking import ranks, top


def draw(users: int, items: int, levels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with ``levels`` different values, and targets."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (users, items), generator=generator).float() / 7
    return scores, torch.randint(0, items, (users,), generator=generator)


@pytest.mark.parametrize("levels", [1, 2, 5, 40, 1_000_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_counts_are_those_of_a_library(levels: int, dtype: torch.dtype) -> None:
    scores, target = draw(60, 37, levels)
    scores = scores.to(dtype)
    first, last, middle = (
        np.array([rankdata(-row, method)[item] for row, item in zip(scores.double().numpy(), target, strict=True)])
        for method in ("min", "max", "average")
    )
    found = ranks(scores, target)
    assert found.higher.dtype == found.equal.dtype == np.int64
    assert found.higher.shape == (60,)
    np.testing.assert_array_equal(found.higher, first - 1)
    np.testing.assert_array_equal(found.equal, last - first)
    np.testing.assert_array_equal(found.mean_rank(), middle)


def test_ranks_without_ties_are_places_in_the_sorted_list() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.stack([torch.randperm(50, generator=generator) for _ in range(40)]).double()
    target = torch.randint(0, 50, (40,), generator=generator)
    order = scores.argsort(dim=1, descending=True)
    places = (order == target[:, None]).nonzero()[:, 1] + 1
    found = ranks(scores, target)
    np.testing.assert_array_equal(found.higher, places.numpy() - 1)
    assert not found.equal.any()


@pytest.mark.parametrize("items", [1, 2, 9, 10])
def test_constant_scores_tie_with_all_others(items: int) -> None:
    found = ranks(torch.full((items, items), 0.3), torch.arange(items))
    assert (found.higher.tolist(), found.equal.tolist()) == ([0] * items, [items - 1] * items)


def test_only_exactly_equal_scores_tie() -> None:
    one = torch.tensor(1.0)
    above = torch.nextafter(one, torch.tensor(2.0))
    found = ranks(torch.stack([one, above, one]).expand(3, 3), torch.arange(3))
    assert (found.higher.tolist(), found.equal.tolist()) == ([1, 0, 1], [1, 0, 1])


def test_infinities_are_in_order() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 0.5, torch.inf], [-torch.inf, -torch.inf, 2.0, 1.0]])
    found = ranks(scores, torch.tensor([2, 0]))
    assert (found.higher.tolist(), found.equal.tolist()) == ([2, 2], [0, 1])


def test_users_do_not_influence_each_other() -> None:
    scores, target = draw(20, 15, 6)
    parts = [ranks(scores[start : start + 7], target[start : start + 7]) for start in range(0, 20, 7)]
    whole = ranks(scores, target)
    assert all(part == whole[start : start + 7] for part, start in zip(parts, range(0, 20, 7), strict=True))


def test_small_integer_targets_are_accepted() -> None:
    scores, target = draw(20, 15, 6)
    assert ranks(scores, target.int()) == ranks(scores, target)


def test_nan_is_refused() -> None:
    scores, target = draw(5, 4, 3)
    scores[1, 2] = scores[3, 0] = torch.nan
    with pytest.raises(DecorecError, match=r"2 of 5 users.*NaN"):
        ranks(scores, target)


@pytest.mark.parametrize("levels", [1, 2, 5, 1_000_000])
@pytest.mark.parametrize("count", [1, 10, 36, 37, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_best_items_stand_in_the_order_of_score_and_then_of_item(
    levels: int, count: int, dtype: torch.dtype
) -> None:
    scores = draw(60, 37, levels)[0].to(dtype)
    scores[::2, ::3] = -torch.inf
    scores[1::2, 5:9] = -0.0  # ties with 0.0
    expected = [sorted(range(37), key=lambda item: (-float(row[item]), item))[:count] for row in scores]
    assert top(scores, count).tolist() == expected


@pytest.mark.parametrize("levels", [2, 50, 1_000_000])
@pytest.mark.parametrize("items", [400, 403])
@pytest.mark.parametrize("count", [1, 11, 12, 13])
def test_the_best_of_many_items_are_found_in_groups(levels: int, items: int, count: int) -> None:
    scores = draw(30, items, levels)[0]
    scores[::2, ::3] = -torch.inf
    scores[1] = scores[1].sort().values  # the best of a row beside each other, at its end
    scores[2] = -torch.inf
    expected = [sorted(range(items), key=lambda item: (-float(row[item]), item))[:count] for row in scores]
    assert top(scores, count).tolist() == expected
