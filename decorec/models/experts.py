"""A product of experts: what was counted in the training part, multiplied with any model's shares of the items.

In logarithms: log of the model's share + weight * z + log(1 + w q), and then the share of the items of the history.
Each part is a key of the section ``experts``. A product lets every expert veto: an item is high only where none of them
thinks little of it (Hinton, Neural Computation 2002).

Shapes: I items, P predictions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from decorec.artifacts.schemas.ranks import History
from decorec.config.experts import ExpertsConfig
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.base import Experts, Recommender
from decorec.models.item_data import ItemData
from decorec.nn.sparse import Propagation, neighbours

__all__ = ["ProductOfExperts", "repeat_rate"]


class ProductOfExperts(Experts):
    """What the section ``experts`` of a run names."""

    repeat_rate: Tensor | None

    def __init__(self, config: ExpertsConfig, item_data: ItemData, floor: Recommender | None) -> None:
        super().__init__()
        self.config = config
        self.floor = floor
        self.needs_times = floor is not None and floor.needs_times
        self.graph = None
        if config.neighbourhood:
            self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])
        self.register_buffer("repeat_rate", torch.zeros(()) if config.repeats == "counted" else None)
        self._known: Tensor | None = None

    def observe(self, training: Sequences, items: int, length: int) -> None:
        """Count what the experts know; the model reads the last ``length`` items of a history."""
        if self.floor is not None:
            self.floor.observe(training)
        if self.repeat_rate is not None:
            self.repeat_rate.fill_(repeat_rate(training, items, length))
        self._known = None

    def forward(self, logs: Tensor, batch: Batch) -> dict[History, Tensor]:
        """The product; ``logs`` is overwritten. Where the history is masked, no share of its items has to be right."""
        if self.floor is not None:
            logs = logs.add_(_standardised(self._scores(batch)), alpha=self.config.weight)
        if self.graph is not None:
            near = _relative(neighbours(self.graph, batch, logs.shape[1]).to(logs.dtype))
            logs = logs.add_(torch.log1p(self.config.neighbourhood * near))
        kept = logs if self.repeat_rate is None else _with_repeats(logs, batch, self.repeat_rate)
        return {"kept": kept, "masked": logs}

    def _scores(self, batch: Batch) -> Tensor:
        """The floor's, [P, I]."""
        assert self.floor is not None
        if self._known is None or self._known.device != batch.items.device:
            self._known = self.floor.item_representations()
        found: Tensor = self.floor.scores(batch, self._known)
        return found


def _with_repeats(logs: Tensor, batch: Batch, rate: Tensor) -> Tensor:
    """The items of the history get the share ``rate`` of the sum of all shares; ``logs`` [P, I].

    A state is computed from the history. The items of the history therefore have high scores, even if users rarely
    repeat an item. RepeatNet (Ren et al. 2019) learns the probability of a repeat; here it is counted. The order within
    the items of the history, and within the other items, does not change.
    """
    past = torch.zeros_like(logs, dtype=torch.bool)
    past[batch.rows(), batch.items] = True
    # Each sum by itself: where the history has nearly all shares, 1 - its sum has no digit left in float32.
    inside, outside = (logs.masked_fill(other, -torch.inf).logsumexp(1, keepdim=True) for other in (~past, past))
    return logs + torch.where(past, torch.log(rate) - inside, torch.log1p(-rate) - outside)


def repeat_rate(training: Sequences, item_count: int, length: int) -> float:
    """Share of interactions with one of the ``length`` items before, among all but each user's first interaction."""
    pairs = training.owners * item_count + training.items
    order = np.argsort(pairs, kind="stable")  # the interactions of a user with an item, one after the other
    again = int(((np.diff(pairs[order]) == 0) & (np.diff(order) <= length)).sum())
    chances = len(training.items) - int((training.lengths > 0).sum())
    return (again + 1) / (chances + 2)  # rule of succession: the rate is never exactly 0


def _standardised(x: Tensor) -> Tensor:
    """Each row with mean 0 and deviation 1 over the items, so that one weight serves every floor; constant rows: 0."""
    apart = x - x.mean(1, keepdim=True)
    deviation = apart.square().mean(1, keepdim=True).sqrt()
    return apart / torch.where(deviation > 0, deviation, 1.0)


def _relative(x: Tensor) -> Tensor:
    """Each row of non-negative numbers, divided by the mean of those that are not 0; rows of zeros stay zero.

    The share of all co-occurrence would not do: a long history has many neighbours, each with a small share.
    """
    total = x.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return x / total * (x > 0).sum(1, keepdim=True)
