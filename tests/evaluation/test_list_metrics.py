"""Metrics beyond accuracy: values by hand, and limits that their definitions give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from decorec.data.sequences import Sequences
from decorec.evaluation.list_metrics import Items, coverage, gini, tail_of, user_metrics

COUNTS = np.array([4, 2, 1, 1])
LISTS = np.array([[0, 1], [0, 2]], np.int32)


def facts(counts: np.ndarray, **changes: Any) -> Items:
    """Of items that each user had once at most."""
    given: dict[str, Any] = {"counts": counts, "owners": counts, "users": 4, "tail": tail_of(counts), "features": {}}
    return Items(**(given | changes))


def test_two_lists_of_four_items_by_hand() -> None:
    """Items had by 4, 2, 1 and 1 of 4 users; lists (a, b) and (a, c); the tail is c and d."""
    found = user_metrics(LISTS, facts(COUNTS, tail=np.array([False, False, True, True])))
    assert (coverage(LISTS, 4), gini(LISTS, 4)) == (0.75, 0.375)
    means = {name: values.mean() for name, values in found.items()}
    assert means == {"Popularity": 2.75, "PopularityShare": 0.34375, "Novelty": 0.75, "TailShare": 0.25}


def test_items_that_nobody_had_count_as_items_and_belong_to_the_tail() -> None:
    assert tail_of(np.array([0, 3, 3, 1, 0, 3])).tolist() == [True, False, False, True, True, True], "ceil(6 / 5) = 2"
    found = user_metrics(np.array([[4]], np.int32), facts(np.array([4, 2, 1, 1, 0])))
    assert {name: values.tolist() for name, values in found.items()} == {
        "Popularity": [0.0],
        "PopularityShare": [0.0],
        "Novelty": [2.0],
        "TailShare": [1.0],
    }, "one user at least: -log2(1 / 4)"


def test_counts_are_those_of_the_training_part() -> None:
    data = Sequences(["u", "v"], np.array([0, 5, 8]), np.array([0, 0, 1, 2, 3, 0, 3, 3], np.int32))
    found = Items.of(data, 5, {})
    assert (found.counts.tolist(), found.owners.tolist(), found.users) == ([3, 1, 0, 0, 0], [2, 1, 0, 0, 0], 2)


def test_gini_of_known_appearances() -> None:
    lists = np.array([[0], [0], [0], [1]], np.int32)
    assert gini(lists, 4) == 0.625, "3, 1, 0, 0"
    assert gini(np.array([[0, 1], [2, 3]], np.int32), 4) == 0.0


@pytest.mark.parametrize(("length", "items"), [(1, 7), (3, 7), (7, 7)])
def test_equal_lists_cover_their_length_and_have_the_largest_gini(length: int, items: int) -> None:
    lists = np.tile(np.arange(length, dtype=np.int32), (5, 1))
    assert coverage(lists, items) == length / items
    assert gini(lists, items) == pytest.approx((items - length) / items)


def test_diversity_of_orthogonal_of_equal_and_of_missing_features() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 3)).astype(np.float32)
    x[5] = 0
    data = Sequences(["u"], np.array([0, 6]), np.arange(6, dtype=np.int32))
    features = {"apart": np.eye(6, dtype=np.float32) * 7, "equal": np.full((6, 2), 3, np.float32), "some": x}
    lists = np.array([[0, 1, 2, 5], [3, 4, -1, -1], [0, 5, -1, -1], [1, -1, -1, -1]], np.int32)
    found = user_metrics(lists, Items.of(data, 6, features))
    assert found["ILD-apart"].tolist() == pytest.approx([1, 1, 1, 0]), "one item has no pair"
    assert found["ILD-equal"].tolist() == pytest.approx([0] * 4, abs=1e-6)

    def distance(one: int, other: int) -> float:
        return float(1 - x[one] @ x[other] / np.linalg.norm(x[one]) / np.linalg.norm(x[other]))

    expected = [np.mean([distance(0, 1), distance(0, 2), distance(1, 2)]), distance(3, 4), 0, 0]
    assert found["ILD-some"].tolist() == pytest.approx(expected, abs=1e-6), "item 5 has no features"
