"""The check that what is exported ranks as the model does, on histories, before anything is written.

Shapes: N histories, L positions, I items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.data.batches import profiles
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import items_until, masked_items, score_windows
from decorec.evaluation.ranking import top_without
from decorec.recommend.histories import from_lists
from decorec.recommend.trained import TrainedRun

__all__ = ["CANDIDATES", "TOLERANCE", "Check", "Scorer", "check", "check_histories", "padded"]

TOLERANCE = 1e-5
"""Largest difference of a score to the model's own, where scores are up to 1; else relative to the largest."""
LIST = 12
"""Length of the lists that are compared."""
CANDIDATES = 100
"""What an index is asked for, where its candidates are ranked again by the model."""
MOST = 1_000
AT_ONCE = 128

Scorer = Callable[[Tensor, Tensor], Tensor]
"""Padded histories [B, L] and lengths [B] to scores [B, I]."""


@dataclass(frozen=True)
class Check:
    """What the comparison found."""

    histories: int
    largest_difference: float
    largest_score: float
    same_lists: float
    """Share of the first twelve items of the model's lists that the exported ones have."""
    recall: float
    """Share of the first twelve items of the model's lists that are among the candidates."""


def check_histories(trained: TrainedRun, found: Sequences | None) -> Sequences:
    """Up to 1,000 histories to check with: of ``found``, spread evenly, or random ones if there are none."""
    if found is not None and (found.lengths > 0).any():
        there = np.flatnonzero(found.lengths)
        return found.of(there[np.unique(np.linspace(0, len(there) - 1, MOST).astype(np.int64))])
    random = np.random.default_rng(0)
    lengths = random.integers(1, int(trained.run.model.length) + 10, MOST)
    drawn = [[trained.items[item] for item in random.integers(0, len(trained.items), n)] for n in lengths]
    return from_lists(drawn, trained.index)


def padded(histories: Sequences, users: npt.NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    """The last ``length`` items of some histories, left-aligned: [B, L] and their lengths [B], all int64."""
    ends = histories.offsets[1:][users]
    sizes = np.minimum(histories.lengths[users], length)
    columns = np.arange(int(sizes.max()))
    places = np.where(columns < sizes[:, None], (ends - sizes)[:, None] + columns, 0)
    items = np.where(columns < sizes[:, None], histories.items[places], 0)
    return torch.from_numpy(items.astype(np.int64)), torch.from_numpy(sizes.astype(np.int64))


def check(trained: TrainedRun, histories: Sequences, scorer: Scorer, exact: bool) -> Check:
    """Compare ``scorer`` with the model.

    Args:
        trained: the run.
        histories: see ``check_histories``.
        scorer: what the exported files compute.
        exact: whether its scores are the model's; if not, only the recall of its candidates is measured.

    Raises:
        DecorecError: scores or lists that should be the model's are not.
    """
    length = int(trained.run.model.length)
    difference = largest = same = inside = 0.0
    windows = profiles(histories, length)
    for block, ranked, _ in score_windows(trained.model, windows, trained.representations):
        for part in np.array_split(np.arange(len(block)), -(-len(block) // AT_ONCE)):
            own = ranked["masked"][torch.from_numpy(part)].float().cpu()
            theirs = scorer(*padded(histories, block[part], length))
            if not torch.isfinite(theirs).all():
                raise DecorecError("export: expected numbers, found others; nothing was written; train the run again")
            users = block[part]
            bought = masked_items(own, *items_until(histories, users, histories.offsets[1:][users]))
            most = int(histories.lengths[users].max())
            first = top_without(own, bought, most, LIST)
            if exact:
                apart = float((own - theirs).abs().max())
                difference, largest = max(difference, apart), max(largest, float(own.abs().max()))
            same += _shared(first, top_without(theirs, bought, most, LIST))
            inside += _shared(first, top_without(theirs, bought, most, CANDIDATES))
    if difference > TOLERANCE * max(1.0, largest):
        raise DecorecError(
            f"export: expected scores within {TOLERANCE:g} of the model's, found a difference of {difference:.2g} (the "
            f"largest score is {largest:.3g}); nothing was written; use another format, and report it"
        )
    count = len(histories.lengths)
    return Check(count, difference, largest, same / count, inside / count)


def _shared(own: Tensor, theirs: Tensor) -> float:
    """Sum over the rows of the share of ``own`` that is in ``theirs``; -1 is no item."""
    real = own >= 0
    found = ((own[:, :, None] == theirs[:, None]).any(2) & real).sum(1)
    return float((found / real.sum(1).clamp_min(1) + (real.sum(1) == 0)).sum())
