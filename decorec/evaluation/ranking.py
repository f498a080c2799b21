"""The rank of the true next item among all items of the data set."""

from __future__ import annotations

import torch

from decorec.errors import DecorecError

__all__ = ["ranks"]

EXACT = 1 << 24


def ranks(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Rank of each user's target, ties averaged: 1 + #(greater) + #(equal, other than the target) / 2.

    This is the mean rank of the target over all orders of the items that tie with it. A model that gives the same score
    to every item gets rank (I + 1) / 2, not rank 1. Scores are not rounded before they are compared: infinities are
    allowed, and low precision makes ties. One float32 array of the size of ``scores`` is needed; the caller divides the
    users into blocks.

    Args:
        scores: [B, I] score of every item for each user, any floating type.
        target: [B] index of the true next item, integer, 0 <= target < I.

    Returns:
        [B] float64, on the device of ``scores``.

    Raises:
        DecorecError: a score is not a number.
    """
    broken = torch.isnan(scores.amax(1))  # the maximum of a row with NaN is NaN
    if broken.any():
        raise DecorecError(
            f"scores of {int(broken.sum())} of {len(scores)} users: expected numbers, found NaN; "
            "training diverged, lower train.learning_rate"
        )
    own = scores.gather(1, target.long().unsqueeze(1))  # [B, 1]
    # Counting comparisons stored as 0.0 and 1.0 is many times faster than counting booleans.
    flags = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    greater = _count(torch.gt(scores, own, out=flags))
    equal = _count(torch.eq(scores, own, out=flags)) - 1
    return 1 + greater + equal / 2


def _count(flags: torch.Tensor) -> torch.Tensor:
    """Sums of rows of zeros and ones, [B, I] float32 -> [B] float64; float32 counts exactly up to 2^24."""
    parts = [part.sum(1).double() for part in torch.split(flags, EXACT, 1)]
    return torch.stack(parts).sum(0)
