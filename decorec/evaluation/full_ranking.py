"""Full ranking: scores all items of the data set for every user, without sampling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.batches import histories
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranking import ranks, without
from decorec.models.base import Recommender

__all__ = ["TOKENS_AT_ONCE", "candidates", "rank_by_history", "rank_users", "score_users", "scored_ranks"]

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time when ranking (32 MB in float32)."""
FEWEST_AT_ONCE = 16
"""Least number of users ranked at a time, even with more logits: each block reads all representations once."""


def rank_users(
    model: Recommender, sequences: Sequences, split: Split, among: npt.NDArray[np.int64] | None = None
) -> Ranks:
    """Where each user's target of ``split`` stands, [U]; both counts are -1 for users left out.

    ``among``: the only candidates, ascending; every target is one of them. By default all items are.
    """
    found = _unranked(sequences)
    for chosen, scores, targets in score_users(model, sequences, split):
        if among is not None:
            there = torch.from_numpy(among).to(scores.device)
            scores, targets = scores.index_select(1, there), torch.searchsorted(there, targets)
        part = ranks(scores, targets)
        found.higher[chosen], found.equal[chosen] = part.higher, part.equal
    return found


def rank_by_history(model: Recommender, sequences: Sequences, split: Split) -> dict[History, Ranks]:
    """Where each user's target of ``split`` stands, with the history kept and masked; each user is scored once.

    With the history masked, the items of the user's whole history are no candidates, also those before the window that
    the model sees, so that all models rank the same items. A target that the user had before stays a candidate.

    Returns:
        counts, each [U]; -1 for users left out.
    """
    found = {history: _unranked(sequences) for history in HISTORIES}
    for chosen, scores, targets in score_users(model, sequences, split):
        for history, part in scored_ranks(sequences, split, chosen, scores, targets).items():
            found[history].higher[chosen], found[history].equal[chosen] = part.higher, part.equal
    return found


def scored_ranks(
    sequences: Sequences, split: Split, chosen: npt.NDArray[np.int64], scores: Tensor, targets: Tensor
) -> dict[History, Ranks]:
    """The same for a block as ``score_users`` yields it: users [B], scores [B, I], targets [B]; counts, each [B]."""
    kept = ranks(scores, targets)
    return {"kept": kept, "masked": without(kept, scores, targets, *_past(sequences, split, chosen))}


def _unranked(sequences: Sequences) -> Ranks:
    return Ranks(*(np.full(len(sequences.users), -1, np.int64) for _ in range(2)))


def candidates(sequences: Sequences, split: Split, items: int) -> dict[History, npt.NDArray[np.int64]]:
    """How many of ``items`` each user's target of ``split`` is ranked among, the target included, each [U]."""
    everyone = np.arange(len(sequences.users))
    rows, past = _past(sequences, split, everyone)
    targets = sequences.targets(split)
    taken = np.unique((rows * items + past)[past != targets[rows]])
    kept = np.full(len(everyone), items, np.int64)
    return {"kept": kept, "masked": kept - np.bincount(taken // items, minlength=len(everyone))}


@torch.no_grad()
def score_users(
    model: Recommender, sequences: Sequences, split: Split
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Tensor]]:
    """Blocks of users (their indices), scores [B, I] of all items after their windows, and targets [B] of ``split``."""
    device = model.item_data.device
    windows = histories(sequences, split, model.config.length)
    model.eval()
    representations = model.item_representations()
    logits = len(representations) ** 2 * model.item_data.item_count  # of one user: all modalities on both sides
    for chosen, batch in windows.in_order(TOKENS_AT_ONCE, max(FEWEST_AT_ONCE, LOGITS_AT_ONCE // logits)):
        moved = batch.to(device)
        yield chosen, model.scores(moved, representations), moved.targets


def _past(
    sequences: Sequences, split: Split, chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Everything that the users ``chosen`` had before their targets of ``split``: place of the user there, and item."""
    starts = sequences.offsets[:-1][chosen]
    counts = sequences.places(split)[chosen] - starts
    rows = np.repeat(np.arange(len(chosen)), counts)
    places = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return rows, sequences.items[places].astype(np.int64)
