"""Full ranking: scores all items of the data set for every user, without sampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.data.batches import histories
from decorec.data.sequences import Sequences
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranking import ranks
from decorec.models.base import Recommender

__all__ = ["TOKENS_AT_ONCE", "candidates", "rank_users", "score_users"]

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time when ranking (32 MB in float32)."""
FEWEST_AT_ONCE = 16
"""Least number of users ranked at a time, even with more logits: each block reads all representations once."""


def rank_users(
    model: Recommender, sequences: Sequences, split: Literal["valid", "test"], mask_history: bool = False
) -> Ranks:
    """Where each user's target of ``split`` stands among all items, [U]; both counts are -1 for users left out.

    With ``mask_history`` the items of the user's whole history, except the target, are no candidates.
    """
    higher, equal = (np.full(len(sequences.users), -1, np.int64) for _ in range(2))
    for chosen, scores, targets in score_users(model, sequences, split, mask_history):
        found = ranks(scores, targets)
        higher[chosen], equal[chosen] = found.higher, found.equal
    return Ranks(higher, equal)


def candidates(
    sequences: Sequences, split: Literal["valid", "test"], items: int, mask_history: bool = False
) -> npt.NDArray[np.int64]:
    """How many of ``items`` each user's target of ``split`` is ranked among, the target included, [U]."""
    everyone = np.arange(len(sequences.users))
    counts = np.full(len(everyone), items, np.int64)
    if mask_history:
        rows, past = _past(sequences, split, everyone)
        targets = sequences.items[sequences.offsets[1:] - (2 if split == "valid" else 1)]
        taken = np.unique((rows * items + past)[past != targets[rows]])
        counts -= np.bincount(taken // items, minlength=len(everyone))
    return counts


@torch.no_grad()
def score_users(
    model: Recommender, sequences: Sequences, split: Literal["valid", "test"], mask_history: bool = False
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Tensor]]:
    """Blocks of users (their indices), scores [B, I] of all items after their windows, and targets [B] of ``split``.

    With ``mask_history`` the items of a user's whole history, except the target, have the score -inf: also those before
    the window that the model sees, so that all models rank the same items. A target that the user had before stays a
    candidate. Where a model itself gives -inf, this becomes the least finite number: a masked item ties with nothing.
    """
    device = model.item_data.device
    windows = histories(sequences, split, model.config.length)
    model.eval()
    representations = model.item_representations()
    logits = len(representations) ** 2 * model.item_data.item_count  # of one user: all modalities on both sides
    for chosen, batch in windows.in_order(TOKENS_AT_ONCE, max(FEWEST_AT_ONCE, LOGITS_AT_ONCE // logits)):
        moved = batch.to(device)
        scores = model.scores(moved, representations)
        if mask_history:
            scores = scores.clamp(min=torch.finfo(scores.dtype).min)
            target = scores.gather(1, moved.targets[:, None])
            rows, items = (torch.from_numpy(part).to(device) for part in _past(sequences, split, chosen))
            scores = scores.index_put((rows, items), scores.new_tensor(-torch.inf))
            scores = scores.scatter(1, moved.targets[:, None], target)
        yield chosen, scores, moved.targets


def _past(
    sequences: Sequences, split: Literal["valid", "test"], chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Everything that the users ``chosen`` had before their targets of ``split``: place of the user there, and item."""
    starts = sequences.offsets[:-1][chosen]
    counts = sequences.offsets[1:][chosen] - (2 if split == "valid" else 1) - starts
    rows = np.repeat(np.arange(len(chosen)), counts)
    places = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return rows, sequences.items[places].astype(np.int64)
