"""Which interactions are for training, validation and test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decorec.data.parts import Parts, by_time
from decorec.errors import DecorecError

Walks = st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=9).map(sorted), min_size=2, max_size=8)


def parts_of(walks: list[list[int]], quantile: float) -> Parts:
    offsets = np.concatenate([[0], np.cumsum([len(walk) for walk in walks])])
    return by_time(offsets, np.concatenate(walks), quantile)


def test_the_first_item_after_one_point_in_time() -> None:
    """T = 8.5, T_valid = 2.5. The third user comes after T: its first item is history alone."""
    found = parts_of([[1, 2, 9], [3, 8, 10], [9, 10]], 0.5)
    assert found.training.tolist() == [2, 0, 0]
    assert found.valid.tolist() == [-1, 1, -1]
    assert found.test.tolist() == [2, 2, 1]


def test_an_interaction_exactly_at_the_point_is_before_it() -> None:
    found = parts_of([[1, 2, 3, 4, 5], [3, 5, 9, 9, 9, 9]], 0.5)  # T = 5, of 1 2 3 3 4 5 5 9 9 9 9; T_valid = 3
    assert (found.training.tolist(), found.valid.tolist(), found.test.tolist()) == ([3, 1], [3, 1], [-1, 2])


@given(Walks, st.sampled_from([0.3, 0.5, 0.8, 0.9]))
def test_equals_plain_python(walks: list[list[int]], quantile: float) -> None:
    everything = [time for walk in walks for time in walk]
    point = np.quantile(everything, quantile)
    earlier = np.quantile([time for time in everything if time <= point], quantile)
    expected = []
    for walk in walks:
        late = [p for p, time in enumerate(walk) if p and time > point]
        between = [p for p, time in enumerate(walk) if p and earlier < time <= point]
        first = [targets[0] if targets else -1 for targets in (between, late)]
        expected.append([sum(time <= earlier for time in walk), *first])
    columns = np.array(expected).T
    if (columns[1:].max(1) < 0).any():
        with pytest.raises(
            DecorecError, match=r"expected users with a (validation|test) target.*lower split\.quantile"
        ):
            parts_of(walks, quantile)
        return
    found = parts_of(walks, quantile)
    assert [found.training.tolist(), found.valid.tolist(), found.test.tolist()] == columns.tolist()
