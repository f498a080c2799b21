"""Full ranking: scores all items of the data set for every user, without sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.batches import Windows, histories
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.data.transfer import moved
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranking import ranks, without
from decorec.models.base import Recommender

__all__ = [
    "TOKENS_AT_ONCE",
    "Scores",
    "candidates",
    "items_until",
    "masked_items",
    "past_of",
    "rank_by_history",
    "rank_users",
    "score_users",
    "score_windows",
    "scored_ranks",
    "unranked",
]

Scores = dict[History, Tensor]
"""What items are ranked by with the history kept and with it masked, for most models the same; see
``Recommender.ranking``."""

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time when ranking (32 MB in float32)."""
FEWEST_AT_ONCE = 16
"""Least number of users ranked at a time, even with more logits: each block reads all representations once."""
MORE_ON_GPU = 16
"""Times as many tokens and logits (512 MB in float32) on a GPU, which has many cores to fill."""


def rank_users(
    model: Recommender, sequences: Sequences, split: Split, among: npt.NDArray[np.int64] | None = None
) -> Ranks:
    """Where each user's target of ``split`` stands, [U]; both counts are -1 for users left out.

    ``among``: the only candidates, ascending; every target is one of them. By default all items are.
    """
    found = unranked(sequences)
    for chosen, scores, targets in score_users(model, sequences, split):
        kept = scores["kept"]
        if among is not None:
            there = torch.from_numpy(among).to(kept.device)
            kept, targets = kept.index_select(1, there), torch.searchsorted(there, targets)
        part = ranks(kept, targets)
        found.higher[chosen], found.equal[chosen] = part.higher, part.equal
    return found


def rank_by_history(
    model: Recommender,
    sequences: Sequences,
    split: Split,
    observe: Callable[[npt.NDArray[np.int64], Scores], None] | None = None,
) -> dict[History, Ranks]:
    """Where each user's target of ``split`` stands, with the history kept and masked; each user is scored once.

    With the history masked, the items of the user's whole history are no candidates, also those before the window that
    the model sees, so that all models rank the same items. A target that the user had before stays a candidate.

    Args:
        model: the trained model.
        sequences: of all users.
        split: whose targets are ranked.
        observe: called with each block of users [B] and their scores, [B, I] each, which it must not change.

    Returns:
        counts, each [U]; -1 for users left out.
    """
    found = {history: unranked(sequences) for history in HISTORIES}
    for chosen, scores, targets in score_users(model, sequences, split):
        for history, part in scored_ranks(sequences, split, chosen, scores, targets).items():
            found[history].higher[chosen], found[history].equal[chosen] = part.higher, part.equal
        if observe is not None:
            observe(chosen, scores)
    return found


def scored_ranks(
    sequences: Sequences, split: Split, chosen: npt.NDArray[np.int64], scores: Scores, targets: Tensor
) -> dict[History, Ranks]:
    """The same for a block as ``score_users`` yields it: users [B], scores [B, I], targets [B]; counts, each [B]."""
    kept = ranks(scores["kept"], targets)
    everything = kept if scores["masked"] is scores["kept"] else ranks(scores["masked"], targets)
    masked = without(everything, scores["masked"], targets, *past_of(sequences, split, chosen))
    return {"kept": kept, "masked": masked}


def unranked(sequences: Sequences) -> Ranks:
    """Counts to be filled in, [U] each: -1."""
    return Ranks(*(np.full(len(sequences.users), -1, np.int64) for _ in range(2)))


def masked_items(scores: Tensor, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> Tensor:
    """Pairs of a user's place and an item, as ``items_until`` and ``past_of`` give them, as [B, I] bool like scores."""
    mask = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    row, item = moved((torch.from_numpy(rows), torch.from_numpy(items)), scores.device)
    mask[row, item] = True
    return mask


def candidates(sequences: Sequences, split: Split, items: int) -> dict[History, npt.NDArray[np.int64]]:
    """How many of ``items`` each user's target of ``split`` is ranked among, the target included, each [U]."""
    everyone = np.arange(len(sequences.users))
    rows, past = past_of(sequences, split, everyone)
    targets = sequences.targets(split)
    taken = np.unique((rows * items + past)[past != targets[rows]])
    kept = np.full(len(everyone), items, np.int64)
    return {"kept": kept, "masked": kept - np.bincount(taken // items, minlength=len(everyone))}


def score_users(
    model: Recommender, sequences: Sequences, split: Split
) -> Iterator[tuple[npt.NDArray[np.int64], Scores, Tensor]]:
    """Blocks of users (their indices), scores [B, I] of all items after their windows, and targets [B] of ``split``."""
    yield from score_windows(model, histories(sequences, split, model.config.length))


@torch.no_grad()
def score_windows(
    model: Recommender, windows: Windows, representations: Tensor | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], Scores, Tensor]]:
    """The same after ``windows``; ``representations``: the model's, of all items, where they are known already."""
    model.eval()
    if representations is None:
        representations = model.item_representations()
    logits = len(representations) ** 2 * model.item_data.item_count  # of one user: all modalities on both sides
    device = model.item_data.device
    more = 1 if device.type == "cpu" else MORE_ON_GPU
    users = max(FEWEST_AT_ONCE, more * LOGITS_AT_ONCE // logits)
    for chosen, batch in windows.in_order(more * TOKENS_AT_ONCE, users):
        there = batch.to(device)
        yield chosen, model.ranking(there, representations), there.targets


def past_of(
    sequences: Sequences, split: Split, chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Everything that the users ``chosen`` had before their targets of ``split``: place of the user there, and item."""
    return items_until(sequences, chosen, sequences.places(split)[chosen])


def items_until(
    sequences: Sequences, chosen: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The items of the users ``chosen`` [B] up to the places ``ends`` [B] in the items: the user's place, and item."""
    starts = sequences.offsets[:-1][chosen]
    counts = ends - starts
    rows = np.repeat(np.arange(len(chosen)), counts)
    places = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return rows, sequences.items[places].astype(np.int64)
