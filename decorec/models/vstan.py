"""VSTAN, STAN and VSKNN (Ludewig and Jannach; Garg et al., SIGIR 2019): neighbours of the history among sequences.

Made for sessions; here a session is the whole training sequence of one user. Otherwise than published: a user's own
sequence is no neighbour, and one that ended after the history does not count more than one that ended with it, because
leave-one-out knows both. Nothing fills up the scores: items of no neighbour have 0.

Shapes: I items, P predictions, S sequences, N different items of all sequences together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from decorec.config.floors import VstanConfig
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.floors import Floor
from decorec.models.item_data import ItemData
from decorec.nn.sized import SizedByTraining

__all__ = ["Vstan"]

DAY = 86_400
PAIRS_AT_ONCE = 1 << 18
"""Pairs of an item of a history and a sequence with it that are held at a time (about 25 MB)."""

POSITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda back, length: (1 - 0.1 * back).clamp_min(0),
    "div": lambda back, length: (length - back) / length,
    "quadratic": lambda back, length: ((length - back) / length).square(),
    "log": lambda back, length: 1 / torch.log10(back + 1.7),
    "same": lambda back, length: torch.ones_like(back),
}
"""Weight of an item of the history, by the steps back from the newest one and the number of items."""
DECAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda back: (1 - 0.1 * (back + 1)).clamp_min(0),
    "div": lambda back: 1 / (back + 1),
    "quadratic": lambda back: 1 / (back + 1).square(),
    "log": lambda back: 1 / torch.log10(back + 2.7),
    "same": torch.ones_like,
}
"""Weight of a sequence, by the steps back from the newest item of the history to the first one that it has."""


class History(NamedTuple):
    """The different items of some histories, history after history; a repeated item stands at its last place."""

    row: Tensor
    """[N] the history of each."""
    item: Tensor
    back: Tensor
    """[N] float32: steps back from the newest item."""
    weight: Tensor
    """[N] float32."""


class Vstan(SizedByTraining, Floor):
    """Score of an item: the sum over the most similar sequences with it of similarity times weights.

    The sequences are in the buffers, the one that ended last first: among equally similar ones the later ones are the
    neighbours. Where times are unknown, they are in the order of the users.
    """

    config: VstanConfig
    sized = ("users", "ends", "crow", "items", "places")
    users: Tensor
    """[S] number of the user of each sequence."""
    ends: Tensor
    """[S] time of its last item, in seconds; 0 where unknown."""
    crow: Tensor
    """[S + 1] where its items begin and end."""
    items: Tensor
    """[N] its different items, ascending."""
    places: Tensor
    """[N] last place of each in the sequence."""

    def __init__(self, config: VstanConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        for name in self.sized:
            self.register_buffer(name, torch.zeros(int(name == "crow"), dtype=torch.int64))
        self._inverted: _Inverted | None = None

    def observe(self, training: Sequences) -> None:
        """Keep the training sequences."""
        super().observe(training)
        there = np.flatnonzero(training.lengths)
        ends = np.zeros(len(there), dtype=np.int64)
        if training.timestamps is not None:
            ends = training.timestamps[training.offsets[1:][there] - 1]
        latest_first = np.argsort(-ends, kind="stable")
        sorted_ = training.of(there[latest_first])
        owner = np.repeat(np.arange(len(there)), sorted_.lengths)
        keys = owner * self.item_data.item_count + sorted_.items
        last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        found = {
            "users": sorted_.numbers,
            "ends": ends[latest_first],
            "crow": np.concatenate([[0], np.cumsum(np.bincount(owner[last], minlength=len(there)))]),
            "items": sorted_.items[last],
            "places": last - sorted_.offsets[:-1][owner[last]],
        }
        for name, array in found.items():
            own = getattr(self, name)
            own.data = torch.from_numpy(array.astype(np.int64)).to(own.device)
        self._inverted = None

    def item_representations(self) -> Tensor:
        """Empty, [1, I, 0]: the scores use the sequences."""
        if self._inverted is None:
            self._inverted = _Inverted(self.crow, self.items, self.places, self.item_data.item_count)
        return self.items.new_empty(1, self.item_data.item_count, 0)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sums over the neighbours, [P, I] float32; one prediction per sequence, after its last item."""
        items = self.item_data.item_count
        if self._inverted is None or batch.users is None:
            raise ValueError("expected representations of this model, and a batch with users")
        found = torch.zeros(len(batch.predict) * items, device=batch.items.device)
        history = self._history(batch)
        own = torch.zeros_like(found).index_copy_(0, history.row * items + history.item, history.weight)
        for part in _blocks(history, self._inverted.counts.index_select(0, history.item)):
            row, sequence, weight, anchor, common = self._neighbours(batch, part, self._inverted)
            begins = self.crow.index_select(0, sequence)
            which, where = _spread(begins, self.crow.index_select(0, sequence + 1) - begins)
            value = weight.index_select(0, which)
            if self.config.l3 is not None:
                apart = (self.places.index_select(0, where) - anchor.index_select(0, which)).abs()
                value = value * torch.exp(apart / -self.config.l3)
            place = row.index_select(0, which) * items + self.items.index_select(0, where)
            if not self.config.itself:
                value = value * (1 - own.index_select(0, place) / common.index_select(0, which))
            found.index_add_(0, place, value)
        return found.view(-1, items) * self._inverted.rarity(len(self.users), self.config.idf)

    def _history(self, batch: Batch) -> History:
        """The items of all histories, with their weights."""
        items = self.item_data.item_count
        keys, order = torch.sort(batch.rows() * items + batch.items, stable=True)
        last = torch.cat([keys[1:] != keys[:-1], keys.new_ones(1, dtype=torch.bool)])
        row = keys[last] // items
        newest = batch.positions.index_select(0, batch.predict).index_select(0, row)
        back = (newest - batch.positions.index_select(0, order[last])).float()
        weight = (
            POSITIONS[self.config.position](back, newest + 1.0)
            if self.config.l1 is None
            else torch.exp(back / -self.config.l1)
        )
        return History(row, keys[last] % items, back, weight)

    def _neighbours(self, batch: Batch, history: History, inverted: _Inverted) -> tuple[Tensor, ...]:
        """Of each neighbour the row, the sequence, its weight, the place of the last common item in it, and the sum of
        the weights of the common items."""
        config, predictions = self.config, len(batch.predict)
        row, sequence, common, anchor, back = self._candidates(batch, history, inverted)
        size = (self.crow[1:] - self.crow[:-1]).index_select(0, sequence)
        if config.similarity == "cosine":
            squares = common.new_zeros(predictions).index_add_(0, history.row, history.weight.square())
            similarity = common / (squares.index_select(0, row) * size).sqrt()
        else:
            similarity = common / torch.bincount(history.row, minlength=predictions).index_select(0, row)
        if config.l2 is not None and batch.times is not None:
            now = batch.times.index_select(0, batch.predict).index_select(0, row)
            days = (now - self.ends.index_select(0, sequence)).clamp_min(0).double() / DAY
            similarity = similarity * torch.exp(days / -config.l2).float()
        # The bits of a float that is not negative ascend with it, so that one sort orders rows and similarities.
        similar = torch.argsort((row << 31) - similarity.view(torch.int32), stable=True)
        chosen = similar[_first(row[similar], config.neighbours)]
        back = back[chosen]
        weight = DECAYS[config.decay](back) if config.l_ipw is None else torch.exp(back / -config.l_ipw)
        return row[chosen], sequence[chosen], similarity[chosen] * weight, anchor[chosen], common[chosen]

    def _candidates(
        self, batch: Batch, history: History, inverted: _Inverted
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Sequences of others that share an item with a history, rows ascending, then those that ended last first.

        Returns:
            row, sequence, sum of the weights of the common items, place of the last of them in the sequence, and steps
            back to the newest of them in the history.
        """
        most = self.config.sample_size
        counts = inverted.counts.index_select(0, history.item)
        if most is not None:  # the latest of all are among the latest of each item; one of these is the user's own
            counts = counts.clamp_max(most + 1)
        which, where = _spread(inverted.begins.index_select(0, history.item), counts)
        row, sequence = history.row.index_select(0, which), inverted.sequences.index_select(0, where)
        assert batch.users is not None
        others = self.users.index_select(0, sequence) != batch.users.index_select(0, row)
        which, where = which[others], where[others]
        keys, order = torch.sort(row[others] * len(self.users) + sequence[others], stable=True)
        which, where = which[order], where[order]
        pairs, segment = torch.unique_consecutive(keys, return_inverse=True)
        common = history.weight.new_zeros(len(pairs)).index_add_(0, segment, history.weight.index_select(0, which))
        anchor = pairs.new_zeros(len(pairs)).scatter_reduce_(0, segment, inverted.places[where], "amax")
        back = common.new_full((len(pairs),), math.inf).scatter_reduce_(0, segment, history.back[which], "amin")
        found = pairs // len(self.users), pairs % len(self.users), common, anchor, back
        return found if most is None else tuple(x[_first(found[0], most)] for x in found)  # type: ignore[return-value]


class _Inverted:
    """For each item the sequences that have it, the one that ended last first, and its last place there."""

    def __init__(self, crow: Tensor, items: Tensor, places: Tensor, count: int) -> None:
        order = torch.argsort(items, stable=True)
        self.sequences = torch.repeat_interleave(torch.arange(len(crow) - 1, device=crow.device), crow[1:] - crow[:-1])
        self.sequences, self.places = self.sequences[order], places[order]
        self.counts = torch.bincount(items, minlength=count)
        self.begins = torch.cumsum(self.counts, 0) - self.counts

    def rarity(self, sequences: int, weight: float) -> Tensor:
        """[I] 1 + weight ln(sequences / sequences with the item)."""
        return 1 + weight * torch.log(sequences / self.counts.clamp_min(1))


def _spread(begins: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """All numbers begins[n], ..., begins[n] + counts[n] - 1, for one n after the other; n of each, and the number."""
    which = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    before = torch.cumsum(counts, 0) - counts
    return which, torch.arange(len(which), device=counts.device) + (begins - before).index_select(0, which)


def _first(rows: Tensor, most: int) -> Tensor:
    """Which entries are among the first ``most`` of their row; rows ascend."""
    return torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows) < most


def _blocks(history: History, pairs: Tensor) -> Iterator[History]:
    """Whole rows with about ``PAIRS_AT_ONCE`` pairs together; ``pairs`` [N]: those of each item of a history."""
    last = torch.ones_like(history.row, dtype=torch.bool)
    last[:-1] = history.row[1:] != history.row[:-1]
    ends = torch.nonzero(last).flatten() + 1
    block = torch.cumsum(pairs, 0)[ends - 1] // PAIRS_AT_ONCE
    cuts = ends[torch.cat([block[1:] != block[:-1], block.new_ones(1, dtype=torch.bool)])]
    begin = 0
    for end in cuts.tolist():
        yield History(*(x[begin:end] for x in history))
        begin = end
