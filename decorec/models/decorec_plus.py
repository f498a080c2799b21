"""Two corrections of DeCoRec's scores that are not in the paper; the run decorec-plus switches them on.

Both are counted in the training part and come after eq. 18. The third part of decorec-plus, a horizon of several next
items, is a key of training (``train.horizon``).

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

    q is the item's co-occurrence with the history, later items counting more, as in item-kNN, in units of the mean over
    all items that co-occur with the history. Adapters and hops blur what was bought with what; this product of experts
    says it once more. A share of all co-occurrence would not do for q: long histories have many neighbours, each with a
    small share.
    """
    near = neighbours(graph, batch, scores.shape[1])
    return scores.mul_(1 + weight * _relative(near))


def with_repeats(scores: Tensor, batch: Batch, rate: Tensor) -> Tensor:
    """``repeats: counted``: the items of the history hold ``rate`` of the sum of ``scores`` [P, I].

    A state is made of the history, so that the history's items score highly, however rarely anybody comes back to one.
    RepeatNet (Ren et al. 2019) learns the probability of a repeat; here it is counted. The order of the items on either
    side stays.
    """
    past = torch.zeros_like(scores, dtype=torch.bool)
    past[batch.rows(), batch.items] = True
    shares, tiny = _shares(scores), torch.finfo(scores.dtype).tiny
    mass = (shares * past).sum(1, keepdim=True)
    return shares * torch.where(past, rate / mass.clamp_min(tiny), (1 - rate) / (1 - mass).clamp_min(tiny))


def repeat_rate(training: Sequences, item_count: int) -> float:
    """How often a user took what the user had taken before, of all interactions but each user's first."""
    users = np.repeat(np.arange(len(training.users)), training.lengths)
    first = len(np.unique(users * item_count + training.items))
    again, chances = len(training.items) - first, len(training.items) - int((training.lengths > 0).sum())
    return (again + 1) / (chances + 2)  # rule of succession: never is not impossible


def _shares(x: Tensor) -> Tensor:
    """Each row over its sum; rows of zeros stay."""
    return x / x.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _relative(x: Tensor) -> Tensor:
    """Each row [I] of non-negative numbers over the mean of those that are not 0; rows of zeros stay."""
    return _shares(x) * (x > 0).sum(1, keepdim=True)
