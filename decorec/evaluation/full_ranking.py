"""Full ranking: scores all items of the data set for every user, without sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.batches import Windows, histories
from decorec.data.id_codes import unique
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.data.transfer import moved
from decorec.evaluation.at_once import (
    FEWEST_AT_ONCE,
    ITEMS_AT_ONCE,
    LOGITS_AT_ONCE,
    MORE_ON_GPU,
    TOKENS_AT_ONCE,
    USERS_AT_ONCE,
)
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranking import ranks, without
from decorec.models.base import Recommender
from decorec.models.sampled import SampledRecommender

__all__ = [
    "Scores",
    "among_items",
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


@dataclass(frozen=True)
class _Scored:
    """A block of users and their scores of the N items from ``begin`` on: all, or a tile of a large catalogue."""

    chosen: npt.NDArray[np.int64]
    """[B] the users' indices."""
    scores: Scores
    """[B, N] each."""
    targets: Tensor
    """[B] place of the target among these items; outside of 0 <= target < N it is none of them."""
    own: Tensor | None = None
    """[B] score of the target; None: it is among ``scores``."""
    begin: int = 0


def rank_users(
    model: Recommender, sequences: Sequences, split: Split, among: npt.NDArray[np.int64] | None = None
) -> Ranks:
    """Where each user's target of ``split`` stands, [U]; both counts are -1 for users left out.

    ``among``: the only candidates, ascending; every target is one of them. By default all items are.
    """
    found = unranked(sequences)
    for part in _scored(model, sequences, split):
        kept, targets = part.scores["kept"], part.targets
        if among is not None:
            near = among[np.searchsorted(among, part.begin) : np.searchsorted(among, part.begin + kept.shape[1])]
            there = torch.from_numpy(near - part.begin).to(kept.device)
            inside = (targets >= 0) & (targets < kept.shape[1])
            targets = torch.where(inside, torch.searchsorted(there, targets), -1)
            kept = kept.index_select(1, there)
        _add(found, part, ranks(kept, targets, part.own) if kept.shape[1] else None)
    return found


def rank_by_history(
    model: Recommender,
    sequences: Sequences,
    split: Split,
    observe: Callable[[npt.NDArray[np.int64], Scores, int], None] | None = None,
) -> dict[History, Ranks]:
    """Where each user's target of ``split`` stands, with the history kept and masked; each user is scored once.

    With the history masked, the items of the user's whole history are no candidates, also those before the window that
    the model sees, so that all models rank the same items. A target that the user had before stays a candidate.

    Args:
        model: the trained model.
        sequences: of all users.
        split: whose targets are ranked.
        observe: called with each block of users [B], their scores, which it must not change, and the item of the first
            column of these: [B, I] each and 0, or those of one tile of items after the other.

    Returns:
        counts, each [U]; -1 for users left out.
    """
    found = {history: unranked(sequences) for history in HISTORIES}
    for part in _scored(model, sequences, split):
        block = part.chosen, part.scores, part.targets
        for history, counts in scored_ranks(sequences, split, *block, part.own, part.begin).items():
            _add(found[history], part, counts)
        if observe is not None:
            observe(part.chosen, part.scores, part.begin)
    return found


def scored_ranks(
    sequences: Sequences,
    split: Split,
    chosen: npt.NDArray[np.int64],
    scores: Scores,
    targets: Tensor,
    own: Tensor | None = None,
    begin: int = 0,
) -> dict[History, Ranks]:
    """The same for a block of users among the items whose scores it has (see ``_Scored``); counts, each [B]."""
    kept = ranks(scores["kept"], targets, own)
    everything = kept if scores["masked"] is scores["kept"] else ranks(scores["masked"], targets, own)
    past = among_items(past_of(sequences, split, chosen), begin, scores["kept"].shape[1])
    return {"kept": kept, "masked": without(everything, scores["masked"], targets, *past, own)}


def among_items(
    pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], begin: int, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Those ``pairs`` of a user's place and an item whose item is one of ``count`` from ``begin`` on, numbered so."""
    rows, items = pairs
    there = (items >= begin) & (items < begin + count)
    return rows[there], items[there] - begin


def _add(found: Ranks, part: _Scored, counts: Ranks | None) -> None:
    """Add the counts of a block of users among some items; None: none of these is a candidate."""
    if not part.begin:
        found.higher[part.chosen] = found.equal[part.chosen] = 0
    if counts is not None:
        found.higher[part.chosen] += counts.higher
        found.equal[part.chosen] += counts.equal


def _scored(model: Recommender, sequences: Sequences, split: Split) -> Iterator[_Scored]:
    """All users, block by block; the tiles of a block follow each other in the order of their items."""
    if isinstance(model, SampledRecommender) and model.experts is None and not model.holds_whole:
        yield from _score_tiles(model, histories(sequences, split, model.config.length))
    else:
        for chosen, scores, targets in score_users(model, sequences, split):
            yield _Scored(chosen, scores, targets)


@torch.no_grad()
def _score_tiles(model: SampledRecommender, windows: Windows) -> Iterator[_Scored]:
    """Twice over the items: for the totals and the logits of the targets, and for the scores."""
    model.eval()
    for chosen, states, targets in _queries(model, windows):
        size = max(FEWEST_AT_ONCE, LOGITS_AT_ONCE // (len(states) ** 2 * ITEMS_AT_ONCE))
        blocks = [slice(begin, begin + size) for begin in range(0, len(chosen), size)]
        totals: list[Tensor | None] = [None] * len(blocks)
        of_target: list[Tensor | None] = [None] * len(blocks)
        for tile in _tiles(model):
            for number, block in enumerate(blocks):
                logits = tile.logits(model, states[:, block])
                places = targets[block] - tile.begin
                totals[number] = model.total(logits, len(states), totals[number])
                of_target[number] = _target_logits(logits, places, tile.count, of_target[number])
        own = []
        for logits_of_target, total in zip(of_target, totals, strict=True):
            assert logits_of_target is not None
            own.append(model.scores_from(logits_of_target, len(states), total)[:, 0])
        for tile in _tiles(model):
            for number, block in enumerate(blocks):
                logits = tile.logits(model, states[:, block])
                scores = model.scores_from(logits, len(states), totals[number])
                both = dict.fromkeys(HISTORIES, scores)
                yield _Scored(chosen[block], both, targets[block] - tile.begin, own[number], tile.begin)


def _queries(model: SampledRecommender, windows: Windows) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Tensor]]:
    """Users, up to ``USERS_AT_ONCE`` and a batch, their states [M, B, D] and their targets [B]."""
    found: list[tuple[npt.NDArray[np.int64], Tensor, Tensor]] = []
    waiting = 0
    for chosen, batch in windows.in_order(TOKENS_AT_ONCE):
        there = batch.to(model.item_data.device)
        found.append((chosen, model.queries(there), there.targets))
        waiting += len(chosen)
        if waiting >= USERS_AT_ONCE:
            yield _joined(found)
            found, waiting = [], 0
    if found:
        yield _joined(found)


def _joined(
    parts: list[tuple[npt.NDArray[np.int64], Tensor, Tensor]],
) -> tuple[npt.NDArray[np.int64], Tensor, Tensor]:
    users, states, targets = zip(*parts, strict=True)
    return np.concatenate(users), torch.cat(states, 1), torch.cat(targets)


@dataclass(frozen=True)
class _Tile:
    """Items from ``begin`` on, the last of those with these representations [M, N, D]; the others were in a tile."""

    begin: int
    count: int
    representations: Tensor

    def logits(self, model: SampledRecommender, states: Tensor) -> Tensor:
        """Of these items; computed for all N, since a product of another width may round otherwise and break ties."""
        logits = model.logits(states, self.representations)
        items = self.representations.shape[1]
        if self.count == items:
            return logits
        return logits.view(len(logits), -1, items)[..., items - self.count :].flatten(1)


def _tiles(model: SampledRecommender) -> Iterator[_Tile]:
    """All items, in order."""
    items = torch.arange(model.item_data.item_count, device=model.item_data.device)
    for begin in range(0, len(items), ITEMS_AT_ONCE):
        end = min(begin + ITEMS_AT_ONCE, len(items))
        yield _Tile(begin, end - begin, model.representations_of(items[max(0, end - ITEMS_AT_ONCE) : end]))


def _target_logits(logits: Tensor, places: Tensor, items: int, known: Tensor | None) -> Tensor:
    """The logits of each user's target, as if it were the only item; taken from those in which the target is.

    They are read from the tile because a product of another width may round otherwise and break ties.

    Args:
        logits: [R, columns] of ``items`` items.
        places: [B] of the targets among these; R is a multiple of B, and columns of ``items``.
        items: of the tile.
        known: what earlier tiles gave; None before the first.

    Returns:
        [R, columns / items].
    """
    each = logits.view(-1, len(places), logits.shape[1] // items, items)
    inside = ((places >= 0) & (places < items))[None, :, None]
    index = places.clamp(0, items - 1)[None, :, None, None].expand(*each.shape[:3], 1)
    found = each.gather(3, index)[..., 0]
    before = torch.zeros_like(found) if known is None else known.view_as(found)
    return torch.where(inside, found, before).flatten(0, 1)


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
    taken = unique((rows * items + past)[past != targets[rows]])
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
