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
from decorec.evaluation.ranking import ranks
from decorec.models.base import Recommender

__all__ = ["TOKENS_AT_ONCE", "rank_users", "score_users"]

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time when ranking (32 MB in float32)."""
FEWEST_AT_ONCE = 16
"""Least number of users ranked at a time, even with more logits: each block reads all representations once."""


def rank_users(
    model: Recommender, sequences: Sequences, split: Literal["valid", "test"], mask_history: bool = False
) -> npt.NDArray[np.float64]:
    """Rank of each user's target of ``split`` among all items, [U] float64.

    With ``mask_history`` the items of the user's whole history, except the target, are not ranked.
    """
    result = np.empty(len(sequences.users))
    for chosen, scores, targets in score_users(model, sequences, split, mask_history):
        result[chosen] = ranks(scores, targets).cpu().numpy()
    return result


@torch.no_grad()
def score_users(
    model: Recommender, sequences: Sequences, split: Literal["valid", "test"], mask_history: bool = False
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Tensor]]:
    """Blocks of users (their indices), scores [B, I] of all items after their windows, and targets [B] of ``split``.

    With ``mask_history`` the items of a user's whole history, except the target, have the score -inf: also those before
    the window that the model sees, so that all models rank the same items.
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
