"""The vectorised k-core against the definition."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from decorec.data.kcore import kcore

Pairs = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=120)


def naive(pairs: list[tuple[int, int]], k: int) -> list[bool]:
    """Drop one interaction at a time, as long as one belongs to a user or an item with fewer than k."""
    alive = set(range(len(pairs)))
    while True:
        users = Counter(pairs[row][0] for row in alive)
        items = Counter(pairs[row][1] for row in alive)
        small = [row for row in sorted(alive) if users[pairs[row][0]] < k or items[pairs[row][1]] < k]
        if not small:
            return [row in alive for row in range(len(pairs))]
        alive.remove(small[0])


@given(Pairs, st.integers(1, 5))
@settings(deadline=None)
def test_equals_the_naive_fixed_point(pairs: list[tuple[int, int]], k: int) -> None:
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    core = kcore(users, items, k)
    assert core.keep.tolist() == naive(pairs, k)


@given(Pairs, st.integers(1, 5))
@settings(deadline=None)
def test_passes_account_for_every_interaction(pairs: list[tuple[int, int]], k: int) -> None:
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    core = kcore(users, items, k)
    left = len(pairs)
    for step in core.passes:
        dropped = step["dropped"]
        assert isinstance(dropped, dict) and sum(dropped.values()) > 0
        left -= sum(dropped.values())
        assert step["interactions"] == left
    assert left == core.keep.sum()
    if core.passes:
        assert core.passes[-1]["users"] == len(set(users[core.keep]))
        assert core.passes[-1]["items"] == len(set(items[core.keep]))


@given(Pairs, st.sets(st.integers(0, 8)), st.integers(1, 4))
@settings(deadline=None)
def test_core_of_a_core_without_items_is_the_core_without_them(
    pairs: list[tuple[int, int]], removed: set[int], k: int
) -> None:
    """Why filtering before the crawl loses nothing."""
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    allowed = ~np.isin(items, list(removed))
    rows = np.arange(len(users))
    direct = rows[allowed][kcore(users[allowed], items[allowed], k).keep]
    first = kcore(users, items, k).keep & allowed
    twice = rows[first][kcore(users[first], items[first], k).keep]
    assert direct.tolist() == twice.tolist()


def test_a_chain_unravels_pass_by_pass() -> None:
    users = np.array([0, 1, 1, 2, 2, 3, 3])
    items = np.array([0, 0, 1, 1, 2, 2, 3])
    core = kcore(users, items, 2)
    assert not core.keep.any()
    assert [step["interactions"] for step in core.passes] == [5, 3, 1, 0]
