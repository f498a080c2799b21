"""Compiled loops against plain ones: what may be a repetition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from decorec.data.kernels import possible_repeats


@given(st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**62)), max_size=60), st.sampled_from([1, 4, 1024]))
@settings(deadline=None)
def test_whatever_is_repeated_is_marked(values: list[int], marks: int) -> None:
    flags = possible_repeats(np.array(values, np.int64), np.zeros(marks, np.uint8))
    assert all(flag or values.count(value) == 1 for flag, value in zip(flags, values, strict=True))


def test_few_others_are_marked_where_there_are_marks_enough() -> None:
    values = np.random.default_rng(0).integers(0, 2**60, 10_000)
    flags = possible_repeats(np.concatenate([values, values[:10]]), np.zeros(1 << 14, np.uint8))
    assert flags[-10:].all() and flags[:10].all()
    assert flags.mean() < 0.1
