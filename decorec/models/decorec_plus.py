"""Two corrections of DeCoRec's scores that are not in the paper; the run decorec-plus switches them on.

Both use counts of the training part and are applied after eq. 18. The third part of decorec-plus, a horizon of several
next items, is a key of training (``train.horizon``).

Shapes: I items, P predictions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.nn.sparse import Propagation, neighbours

__all__ = ["repeat_rate", "with_neighbourhood", "with_repeats"]


def with_neighbourhood(scores: Tensor, batch: Batch, graph: Propagation, weight: float) -> Tensor:
    """``neighbourhood``: scores times 1 + weight * q; overwrites ``scores`` [P, I].

    q is the item's co-occurrence with the history, with more weight for later items, as in item-kNN. Its unit is the
    mean over all items that co-occur with the history. Adapters and hops smooth the co-occurrences; this product of
    experts adds them again in full detail. The share of all co-occurrence would not be suitable for q: a long history
    has many neighbours, each with a small share.
    """
    near = neighbours(graph, batch, scores.shape[1])
    return scores.mul_(1 + weight * _relative(near))


def with_repeats(scores: Tensor, batch: Batch, rate: Tensor) -> Tensor:
    """``repeats: counted``: the items of the history get the share ``rate`` of the sum of ``scores`` [P, I].

    A state is computed from the history. The items of the history therefore have high scores, even if users rarely
    repeat an item. RepeatNet (Ren et al. 2019) learns the probability of a repeat; here it is counted. The order within
    the items of the history, and within the other items, does not change.
    """
    past = torch.zeros_like(scores, dtype=torch.bool)
    past[batch.rows(), batch.items] = True
    shares, tiny = _shares(scores), torch.finfo(scores.dtype).tiny
    mass = (shares * past).sum(1, keepdim=True)
    return shares * torch.where(past, rate / mass.clamp_min(tiny), (1 - rate) / (1 - mass).clamp_min(tiny))


def repeat_rate(training: Sequences, item_count: int) -> float:
    """Share of interactions with an item that the user had before, among all but each user's first interaction."""
    users = np.repeat(np.arange(len(training.users)), training.lengths)
    first = len(np.unique(users * item_count + training.items))
    again, chances = len(training.items) - first, len(training.items) - int((training.lengths > 0).sum())
    return (again + 1) / (chances + 2)  # rule of succession: the rate is never exactly 0


def _shares(x: Tensor) -> Tensor:
    """Each row divided by its sum; rows of zeros stay zero."""
    return x / x.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _relative(x: Tensor) -> Tensor:
    """Each row [I] of non-negative numbers, divided by the mean of those that are not 0; rows of zeros stay zero."""
    return _shares(x) * (x > 0).sum(1, keepdim=True)
