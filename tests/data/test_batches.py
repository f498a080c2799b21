"""Windows and batches: every training pair exactly once, nothing of the held-out items."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decorec.data.batches import Batch, append, histories, regroup, training_windows
from decorec.data.transfer import moved
from tests.support.small import sequences

LENGTHS = st.lists(st.integers(3, 20), min_size=1, max_size=12)


def pairs(batch: Batch) -> list[tuple[tuple[int, ...], int]]:
    """(history, target) of every prediction of a batch."""
    found = []
    rows = batch.rows()
    for token, target in zip(batch.predict.tolist(), batch.targets.tolist(), strict=True):
        begin = token - int(batch.positions[token])
        assert rows[begin] == rows[token]
        found.append((tuple(batch.items[begin : token + 1].tolist()), target))
    return found


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 12), st.integers(1, 30))
def test_one_pass_is_the_sliding_window_expansion(lengths: list[int], length: int, size: int) -> None:
    data = sequences(len(lengths), items=7)
    data = type(data)(
        [f"u{i}" for i in range(len(lengths))],
        np.concatenate([[0], np.cumsum(lengths)]),
        np.random.default_rng(0).integers(0, 7, sum(lengths)).astype(np.int32),
    )
    expected = []
    for user, count in enumerate(lengths):
        training = data.items[data.offsets[user] : data.offsets[user + 1] - 2].tolist()
        expected += [(tuple(training[max(0, t - length) : t]), training[t]) for t in range(1, count - 2)]
    for samples in ("sequences", "prefixes"):
        windows = training_windows(data, length, samples)  # type: ignore[arg-type]
        assert windows.target_count == len(expected)
        found = [pair for batch in windows.epoch(size, torch.Generator().manual_seed(0)) for pair in pairs(batch)]
        assert sorted(found) == sorted(expected)
        assert samples == "sequences" or (windows.size - windows.first == 1).all()


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 12), st.integers(2, 5), st.sampled_from(["sequences", "prefixes"]))
def test_a_horizon_adds_what_follows_the_next_item_in_training(
    lengths: list[int], length: int, horizon: int, samples: Literal["sequences", "prefixes"]
) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.arange(sum(lengths), dtype=np.int32)  # every interaction has an item of its own
    data = type(sequences(1))([f"u{i}" for i in range(len(lengths))], offsets, items)
    last = {item: end - 3 for begin, end in pairwise(offsets.tolist()) for item in range(begin, end)}
    found = 0
    for batch in training_windows(data, length, samples, horizon).epoch(7, torch.Generator().manual_seed(0)):
        assert batch.targets.shape == (len(batch.predict), horizon)
        for token, row in zip(batch.items[batch.predict].tolist(), batch.targets.tolist(), strict=True):
            ahead = [item for item in range(token + 1, token + 1 + horizon) if item <= last[token]]
            assert row == ahead + [-1] * (horizon - len(ahead))
            assert ahead
            found += 1
    assert found == sum(count - 3 for count in lengths)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(1, 12))
def test_histories_end_before_the_target(lengths: list[int], length: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.random.default_rng(1).integers(0, 7, sum(lengths)).astype(np.int32)
    data = type(sequences(1))([f"u{i}" for i in range(len(lengths))], offsets, items)
    for split, back in (("valid", 2), ("test", 1)):
        windows = histories(data, split, length)  # type: ignore[arg-type]
        for chosen, batch in windows.in_order(25):
            for user, (history, target) in zip(chosen, pairs(batch), strict=True):
                end = offsets[user + 1] - back
                assert target == items[end]
                assert history == tuple(items[max(offsets[user], end - length) : end].tolist())


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_blocks_of_histories_hold_every_window_once_within_the_limit(limit: int) -> None:
    windows = histories(sequences(), "test", 50)
    blocks = [chosen for chosen, _ in windows.in_order(60, limit)]
    assert sorted(np.concatenate(blocks)) == list(range(60))
    assert max(map(len, blocks)) <= limit


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    windows = training_windows(sequences(), 50)

    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return [item for batch in windows.epoch(64, generator) for item in batch.items.tolist()]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_batches_hold_about_as_many_targets_as_asked_for() -> None:
    windows = training_windows(sequences(users=500), 50)
    sizes = [len(batch.targets) for batch in windows.epoch(256, torch.Generator().manual_seed(0))]
    assert max(sizes) <= 256 + 20
    assert min(sizes) >= 256 - 40


def test_batches_of_prefixes_hold_as_many_as_asked_for_and_the_last_one_the_rest() -> None:
    windows = training_windows(sequences(users=100), 50, "prefixes")
    sizes = [len(batch.targets) for batch in windows.epoch(64, torch.Generator().manual_seed(0))]
    assert sizes == [64] * (len(windows) // 64) + [len(windows) % 64]


@pytest.mark.parametrize("length", [50, 4])
@pytest.mark.parametrize("samples", ["sequences", "prefixes"])
def test_batches_know_users_and_times(samples: Literal["sequences", "prefixes"], length: int) -> None:
    data = sequences(20)
    stamps = np.arange(len(data.items)) * 10  # every interaction has a time of its own, in the order of ``items``
    data = replace(data, items=np.arange(len(data.items), dtype=np.int32), timestamps=stamps)
    chosen = np.array([7, 3, 11])
    for known, numbers in ((data, np.arange(20)), (data.of(chosen), chosen)):
        seen = []
        for windows in (histories(known, "valid", length), training_windows(known, length, samples)):
            for _, batch in windows.in_order(30):
                assert batch.users is not None and batch.times is not None
                assert batch.times.tolist() == (batch.items * 10).tolist()
                owner = np.searchsorted(data.offsets, batch.items.numpy(), "right") - 1
                assert batch.users[batch.rows()].tolist() == owner.tolist()
                seen += batch.users.tolist()
                moved = batch.to(torch.device("meta"))
                assert moved.users is not None and moved.users.device.type == "meta" == moved.times.device.type  # type: ignore[union-attr]
        assert set(seen) == set(numbers.tolist())
        _, batch = next(histories(known, "test", length).in_order(1000))
        longer = append(batch, 999)
        assert longer.users is batch.users and longer.times is not None
        added = longer.items == 999
        assert longer.times[~added].tolist() == (longer.items[~added] * 10).tolist()
        assert longer.times[added].tolist() == (batch.items[batch.predict] * 10).tolist(), "when it comes is not known"


def test_unknown_times_stay_unknown() -> None:
    data = replace(sequences(20), timestamps=None)
    for windows in (histories(data.of(np.array([3, 1])), "test", 50), training_windows(data, 50)):
        assert all(batch.times is None for _, batch in windows.in_order(30))


def test_arrays_that_move_together_are_themselves_again() -> None:
    tensors = [torch.arange(5), torch.arange(6).view(2, 3).T, torch.tensor([0.5, -2.0], dtype=torch.float64)]
    for before, after in zip(
        tensors, moved([*tensors, torch.empty(0, dtype=torch.int64)], torch.device("cpu")), strict=False
    ):
        assert after.dtype == before.dtype and torch.equal(after, before)
        assert after.data_ptr() != before.data_ptr()


def test_a_batch_moves_as_a_whole() -> None:
    """There is no GPU here: the device without memory tells shapes and what was left behind."""
    data = sequences(9)
    chosen = np.arange(9)
    for windows in (histories(data, "test", 5), training_windows(data, 5, horizon=2)):
        batch = windows.batch(chosen)
        there = batch.to(torch.device("meta"))
        for name in ("items", "positions", "predict", "targets", "users", "times"):
            before, after = getattr(batch, name), getattr(there, name)
            assert after.device.type == "meta" and (after.shape, after.dtype) == (before.shape, before.dtype)
        for before, after in zip(batch.groups, there.groups, strict=True):
            assert after.slots.device.type == after.lengths.device.type == "meta"
            assert (after.lengths.shape, after.slots.shape) == (before.lengths.shape, before.slots.shape)
            assert (after.begin, after.end, after.width) == (before.begin, before.end, before.width)
        assert there.at_ends == batch.at_ends and batch.to(torch.device("cpu")) is batch


def test_groups_with_known_sizes_are_those_that_are_counted() -> None:
    batch = histories(sequences(30), "test", 9).batch(np.arange(30))
    appended = append(batch, 7)
    lengths = torch.cat([group.lengths for group in batch.groups])
    for known, counted in zip(appended.groups, regroup(batch.groups, lengths + 1), strict=True):
        assert (known.begin, known.end, known.width) == (counted.begin, counted.end, counted.width)
        assert torch.equal(known.lengths, counted.lengths) and torch.equal(known.slots, counted.slots)
