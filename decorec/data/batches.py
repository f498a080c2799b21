"""Batches of sequences of different lengths, without padding, for training and evaluation.

Shapes: T tokens, B sequences, P predictions of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.data.transfer import moved

__all__ = [
    "Batch",
    "Group",
    "Samples",
    "Windows",
    "append",
    "histories",
    "pack",
    "profiles",
    "regroup",
    "share",
    "shuffled",
    "training_windows",
]

IntArray = npt.NDArray[np.int64]
NARROWEST = 4
"""Sequences up to this length are one group: the padding costs less than the calls for one more group."""


@dataclass(frozen=True)
class Group:
    """Sequences of similar length within a batch, so that the padded layout of attention has little padding."""

    begin: int
    end: int
    """The group has the tokens begin to end of the batch."""
    width: int
    """Length of the group's longest sequence."""
    lengths: Tensor
    """[B] int64: number of tokens of each of its sequences."""
    slots: Tensor
    """[end - begin] int64: place of each of its tokens in the padded [B, width] layout, flattened."""


@dataclass(frozen=True)
class Batch:
    """Packed sequences: one row per token, no padding.

    The tokens of a sequence stand together, oldest first; short sequences come first. ``predict`` holds the tokens
    after which the next item is predicted.
    """

    items: Tensor
    """[T] int64: item of each token."""
    positions: Tensor
    """[T] int64: position of each token in its sequence, from 0."""
    groups: tuple[Group, ...]
    predict: Tensor
    """[P] int64: tokens whose next item is predicted."""
    targets: Tensor
    """[P] int64: those next items; [P, K]: the K items that came next, -1 where there are fewer."""
    at_ends: bool
    """Whether there is exactly one prediction per sequence, after its last token."""
    users: Tensor | None = None
    """[B] int64: number of the user of each sequence among all users of the data set; None where nobody asks."""
    times: Tensor | None = None
    """[T] int64: time stamp of each token, in seconds; None where they are unknown, or nobody asks."""

    @property
    def following(self) -> Tensor:
        """[P] int64: the next item alone."""
        return self.targets if self.targets.dim() == 1 else self.targets[:, 0]

    @property
    def weight(self) -> float:
        """What the predictions weigh together in a mean loss: the k-th target of each has the weight 1 / k."""
        if self.targets.dim() == 1:
            return float(len(self.targets))
        ranks = torch.arange(1, self.targets.shape[1] + 1, dtype=torch.float64)
        return float(((self.targets >= 0).cpu() / ranks).sum())

    def rows(self) -> Tensor:
        """[T] int64: sequence of each token."""
        lengths = torch.cat([group.lengths for group in self.groups])
        numbers = torch.arange(len(lengths), device=lengths.device)
        return torch.repeat_interleave(numbers, lengths, output_size=len(self.items))

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        if self.items.device.type == device.type:
            return self
        own = {name: getattr(self, name) for name in ("items", "positions", "predict", "targets", "users", "times")}
        there = {name: tensor for name, tensor in own.items() if tensor is not None}
        parts = [tensor for group in self.groups for tensor in (group.lengths, group.slots)]
        copies = iter(moved([*there.values(), *parts], device))
        alone: dict[str, Any] = dict(zip(there, copies, strict=False))
        groups = tuple(replace(group, lengths=next(copies), slots=next(copies)) for group in self.groups)
        return replace(self, groups=groups, **alone)


class Samples(Protocol):
    """Training samples of a model."""

    @property
    def target_count(self) -> int:
        """Number of predictions in one epoch."""

    def epoch(self, target_count: int, generator: torch.Generator) -> Iterator[Batch]:
        """Batches of one epoch, in random order, about ``target_count`` predictions each.

        The same generator gives the same batches: all random numbers come from it.
        """


@dataclass(frozen=True)
class Windows:
    """Parts of the flat item array; predictions are made after the tokens from ``first`` on."""

    source: npt.NDArray[np.int32]
    start: IntArray
    size: IntArray
    first: IntArray
    ends: IntArray
    """For each window, the end in ``source`` of the items that may be its targets."""
    horizon: int = 1
    """Items after a token that are its targets."""
    users: IntArray | None = None
    """For each window, the number of its user among all users of the data set."""
    times: IntArray | None = None
    """Time stamps of the items in ``source``, in seconds; None where they are unknown."""

    def __len__(self) -> int:
        return len(self.start)

    @property
    def target_count(self) -> int:
        """Number of predictions in all windows."""
        return int((self.size - self.first).sum())

    def batch(self, chosen: IntArray) -> Batch:
        """Pack the windows ``chosen``, in order of their length (ties: in the given order)."""
        chosen = chosen[np.argsort(self.size[chosen], kind="stable")]
        start, size, first = self.start[chosen], self.size[chosen], self.first[chosen]
        positions = _positions(size)
        where = np.repeat(start, size) + positions
        predict = np.flatnonzero(positions >= np.repeat(first, size))
        packed = pack(self.source[where], size, predict, self._targets(where[predict], chosen, size - first))
        return replace(
            packed,
            users=None if self.users is None else torch.from_numpy(self.users[chosen]),
            times=None if self.times is None else torch.from_numpy(self.times[where]),
        )

    def _targets(self, places: IntArray, chosen: IntArray, counts: IntArray) -> npt.NDArray[np.int32]:
        """The items that follow ``places`` in the source; each of the windows ``chosen`` has ``counts`` places."""
        if self.horizon == 1:
            return self.source[places + 1]
        ahead = places[:, None] + np.arange(1, self.horizon + 1)
        there = ahead < np.repeat(self.ends[chosen], counts)[:, None]
        return np.where(there, self.source[np.where(there, ahead, 0)], np.int32(-1))

    def epoch(self, target_count: int, generator: torch.Generator) -> Iterator[Batch]:
        """All windows in random order.

        Batches have about ``target_count`` predictions and similar sizes. If every window makes one prediction, they
        have exactly that many, except the last one.
        """
        for chosen in shuffled(self.size - self.first, target_count, generator):
            yield self.batch(chosen)

    def in_order(self, token_count: int, window_count: int | None = None) -> Iterator[tuple[IntArray, Batch]]:
        """All windows with their indices, sorted by length.

        A batch has about ``token_count`` tokens, and at most ``window_count`` windows.
        """
        order = np.argsort(self.size, kind="stable")
        ends = np.diff(np.cumsum(self.size[order]) // token_count) != 0
        for chosen in np.split(order, np.flatnonzero(ends) + 1):
            for begin in range(0, len(chosen), window_count or max(1, len(chosen))):
                part = chosen[begin : begin + window_count] if window_count else chosen
                yield part, self.batch(part)  # already in order of length: rows of the batch are ``part``


def shuffled(counts: IntArray, target_count: int, generator: torch.Generator) -> Iterator[IntArray]:
    """Samples in random order, in batches of about ``target_count`` predictions and of similar size.

    If every sample makes one prediction, batches have exactly that many, except the last one.

    Args:
        counts: number of predictions of each sample, at least 1.
        target_count: number of predictions of a batch.
        generator: of the random order.
    """
    if not len(counts):
        return
    order = torch.randperm(len(counts), generator=generator).numpy()
    cumulated = np.cumsum(counts[order])
    if cumulated[-1] == len(counts):
        cuts = np.arange(target_count, len(counts), target_count)
    else:
        batches = max(1, round(cumulated[-1] / target_count))
        cuts = np.searchsorted(cumulated, np.arange(1, batches) * (cumulated[-1] / batches)) + 1
    for chosen in np.split(order, cuts):
        if len(chosen):
            yield chosen


def pack(items: npt.NDArray[np.int32], size: IntArray, predict: IntArray, targets: npt.NDArray[np.int32]) -> Batch:
    """A batch of sequences in ascending order of their length.

    Args:
        items: [T] sequence after sequence.
        size: [B] number of tokens of each sequence.
        predict: [P] tokens after which, or in place of which, an item is predicted.
        targets: [P] or [P, K] the items to predict.
    """
    return Batch(
        items=torch.from_numpy(items.astype(np.int64)),
        positions=torch.from_numpy(_positions(size)),
        groups=tuple(_groups(size)),
        predict=torch.from_numpy(predict),
        targets=torch.from_numpy(targets.astype(np.int64)),
        at_ends=np.array_equal(predict, np.cumsum(size) - 1),
    )


def share(batch: Batch, number: int, count: int) -> Batch | None:
    """Every ``count``-th sequence of a batch, from ``number`` on: neighbours are of similar length, and so all shares.

    None if there is no such sequence. The batch is on the CPU.
    """
    lengths = torch.cat([group.lengths for group in batch.groups])
    mine = torch.arange(len(lengths)) % count == number
    if not mine.any():
        return None
    tokens = mine[batch.rows()]
    asked = tokens[batch.predict]
    predict = (torch.cumsum(tokens, 0) - 1)[batch.predict[asked]]
    packed = pack(*(x.numpy() for x in (batch.items[tokens], lengths[mine], predict, batch.targets[asked])))
    return replace(
        packed,
        users=None if batch.users is None else batch.users[mine],
        times=None if batch.times is None else batch.times[tokens],
    )


def append(batch: Batch, token: int) -> Batch:
    """The batch with one more token at the end of each sequence; the prediction is made at that token.

    Every sequence of ``batch`` has one prediction, after its last token. The new token has the time of that one: when
    the target comes is not known.
    """
    lengths = torch.cat([group.lengths for group in batch.groups])
    ends = torch.cumsum(lengths + 1, 0) - 1
    items = batch.items.new_full((len(batch.items) + len(lengths),), token)
    positions = torch.empty_like(items)
    moved = torch.arange(len(batch.items), device=items.device) + batch.rows()
    items[moved], positions[moved] = batch.items, batch.positions
    positions[ends] = lengths
    times = None
    if batch.times is not None:
        times = torch.empty_like(items)
        times[moved], times[ends] = batch.times, batch.times.index_select(0, batch.predict)
    sizes = [(group.width + 1, group.end - group.begin + len(group.lengths)) for group in batch.groups]
    groups = regroup(batch.groups, lengths + 1, sizes)
    return Batch(items, positions, groups, ends, batch.targets, at_ends=True, users=batch.users, times=times)


def regroup(
    groups: tuple[Group, ...], lengths: Tensor, sizes: Sequence[tuple[int, int]] | None = None
) -> tuple[Group, ...]:
    """Groups of the same sequences with other lengths.

    Args:
        groups: those of the batch.
        lengths: [B] new number of tokens of each sequence, at least 1.
        sizes: width and number of tokens of each group; where they are not known, a GPU is waited for.
    """
    parts = torch.split(lengths, [len(group.lengths) for group in groups])
    if sizes is None:
        both = torch.stack([torch.stack([part.max(), part.sum()]) for part in parts])
        sizes = [(width, tokens) for width, tokens in both.tolist()]
    result, begin = [], 0
    for part, (width, tokens) in zip(parts, sizes, strict=True):
        ends = torch.cumsum(part, 0)
        row = torch.repeat_interleave(torch.arange(len(part), device=part.device), part, output_size=tokens)
        slots = torch.arange(tokens, device=part.device) + (row * width - (ends - part)[row])
        result.append(Group(begin, begin + tokens, width, part, slots))
        begin += tokens
    return tuple(result)


def _positions(size: IntArray) -> IntArray:
    """Position of each token in its sequence."""
    positions: IntArray = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return positions


def _groups(size: IntArray) -> Iterator[Group]:
    """Groups of sequences that are sorted by length; a new group begins at each power of two above ``NARROWEST``."""
    ends, positions = np.cumsum(size), _positions(size)
    scale = np.ceil(np.log2(np.maximum(size, NARROWEST))).astype(np.int64)
    cuts = [0, *(np.flatnonzero(np.diff(scale)) + 1), len(size)]
    for low, high in pairwise(cuts):
        begin, end, width = int(ends[low] - size[low]), int(ends[high - 1]), int(size[high - 1])
        slots = np.repeat(np.arange(high - low) * width, size[low:high]) + positions[begin:end]
        yield Group(begin, end, width, torch.from_numpy(size[low:high]), torch.from_numpy(slots))


def histories(sequences: Sequences, split: Split, length: int) -> Windows:
    """One window per user, in their order: the last ``length`` items before the target of ``split``, which all have."""
    target = sequences.places(split)
    start = np.maximum(sequences.offsets[:-1], target - length)
    size = target - start
    users, times = sequences.numbers, sequences.timestamps
    return Windows(sequences.items, start, size, size - 1, target + 1, users=users, times=times)


def profiles(sequences: Sequences, length: int) -> Windows:
    """One window per user, in their order: its last ``length`` items, all that are known; what follows is not.

    Users have an item or more. They are nobody that a model was trained on, and the targets of the batches mean
    nothing.
    """
    size = np.minimum(sequences.lengths, length)
    ends = sequences.offsets[1:]
    source = np.append(sequences.items, np.int32(0))  # the place of the last user's target
    nobody = np.full(len(size), -1)
    return Windows(source, ends - size, size, size - 1, ends, users=nobody, times=sequences.timestamps)


def training_windows(
    sequences: Sequences, length: int, samples: Literal["sequences", "prefixes"] = "sequences", horizon: int = 1
) -> Windows:
    """Windows of the training part: every item but the first of each user is predicted exactly once.

    Args:
        sequences: of all users; only the training part is used.
        length: largest number of inputs of a window.
        samples: "sequences": a user's first window has the first ``length`` inputs and predicts after each; with a
            causal encoder this equals one sample per prefix. Each input beyond ``length`` gets one sliding window,
            which predicts after its last token only. "prefixes": every prefix is a window of at most ``length`` inputs,
            which predicts after its last token only.
        horizon: number of next items that are targets of a prediction, as far as the training part has them.
    """
    training = sequences.training()
    if samples == "prefixes":
        prefixes = np.maximum(training.lengths - 1, 0)
        before = _positions(prefixes)
        size = np.minimum(before + 1, length)
        start = np.repeat(training.offsets[:-1], prefixes) + before + 1 - size
        ends, users = (np.repeat(x, prefixes) for x in (training.offsets[1:], training.numbers))
        return Windows(training.items, start, size, size - 1, ends, horizon, users, training.timestamps)
    inputs = training.lengths - 1  # the last training item has no successor
    starts, ends, users = (x[inputs > 0] for x in (training.offsets[:-1], training.offsets[1:], training.numbers))
    inputs = inputs[inputs > 0]
    extra = np.maximum(inputs - length, 0)
    shift = _positions(extra) + 1
    start = np.concatenate([starts, np.repeat(starts, extra) + shift])
    size = np.concatenate([np.minimum(inputs, length), np.full(len(shift), length)])
    first = np.concatenate([np.zeros(len(starts), dtype=np.int64), np.full(len(shift), length - 1)])
    ends, users = (np.concatenate([x, np.repeat(x, extra)]) for x in (ends, users))
    return Windows(training.items, start, size, first, ends, horizon, users, training.timestamps)
