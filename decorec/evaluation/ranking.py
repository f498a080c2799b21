"""Where the true next item stands among all items of the data set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from decorec.data.id_codes import unique
from decorec.data.transfer import moved
from decorec.errors import UnfitValuesError
from decorec.evaluation.rank_metrics import Ranks

__all__ = ["ranks", "top", "top_without", "without"]

EXACT = 1 << 24
GROUPED = 8
"""Items of a group of which ``_best`` looks at the maximum first."""


def ranks(scores: torch.Tensor, target: torch.Tensor, own: torch.Tensor | None = None) -> Ranks:
    """Count for each user the items scored higher than the target, and the other items scored equal.

    Scores are compared as they are, without rounding or tolerance: equal is what has the same value in the type of
    ``scores`` (so low precision makes ties, and 0.0 equals -0.0). Infinities are allowed. One float32 array of the size
    of ``scores`` is needed; the caller divides the users into blocks.

    Args:
        scores: [B, I] score of every item for each user, any floating type.
        target: [B] index of the true next item, integer, 0 <= target < I.
        own: [B] score of the target, where ``scores`` are those of some items alone; then a target outside of
            0 <= target < I is none of them.

    Returns:
        counts, each [B].

    Raises:
        UnfitValuesError: a score is not a number.
    """
    broken = torch.isnan(scores.amax(1)).long()  # the maximum of a row with NaN is NaN
    there = (target >= 0) & (target < scores.shape[1])
    at = scores.gather(1, target.long().clamp(0, scores.shape[1] - 1).unsqueeze(1))  # [B, 1]
    own = at if own is None else own.unsqueeze(1)
    # Counting comparisons stored as 0.0 and 1.0 is many times faster than counting booleans.
    flags = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    higher = _count(torch.gt(scores, own, out=flags)) - (there & (at > own).squeeze(1)).long()
    equal = _count(torch.eq(scores, own, out=flags)) - (there & (at == own).squeeze(1)).long()
    broken, higher, equal = torch.stack([broken, higher, equal]).cpu()  # a GPU is waited for once
    if broken.any():
        raise UnfitValuesError(
            f"scores of {int(broken.sum())} of {len(scores)} users: expected numbers, found NaN; "
            "training diverged, lower train.learning_rate"
        )
    return Ranks(higher.numpy(), equal.numpy())


def without(
    found: Ranks,
    scores: torch.Tensor,
    target: torch.Tensor,
    rows: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    own: torch.Tensor | None = None,
) -> Ranks:
    """The same counts among fewer candidates.

    Args:
        found: counts among all items, each [B]: those of ``ranks`` for the same scores and targets.
        scores: [B, I].
        target: [B].
        rows: [X] places of users in the batch, 0 <= row < B.
        items: [X] for each of them an item that is no candidate. A pair may come several times; the target itself stays
            a candidate.
        own: as for ``ranks``.

    Returns:
        counts, each [B].
    """
    pairs = unique(rows * scores.shape[1] + items)
    rows, items = pairs // scores.shape[1], pairs % scores.shape[1]
    other = items != target.cpu().numpy()[rows]
    rows, items = rows[other], items[other]
    row, item = moved((torch.from_numpy(rows), torch.from_numpy(items)), scores.device)
    own = scores.gather(1, target.long().unsqueeze(1)).squeeze(1) if own is None else own
    own = own.index_select(0, row)
    taken = scores[row, item]
    gone = torch.stack([taken > own, taken == own]).cpu().numpy()

    def left(counts: npt.NDArray[np.int64], gone: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return counts - np.bincount(rows[gone], minlength=len(counts))

    return Ranks(left(found.higher, gone[0]), left(found.equal, gone[1]))


def top(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` best items of each user (all, if there are fewer), best first; a tie in the order of the items.

    ``torch.topk`` alone leaves open which items of a tie it takes, and in what order.

    Args:
        scores: [B, I] score of every item for each user, any floating type, no NaN.
        count: at least 1.

    Returns:
        item indices, [B, min(count, I)].
    """
    items = scores.shape[1]
    count = min(count, items)
    values, indices = _best(scores, min(count + 1, items))
    chosen = indices[:, :count]
    if count < items:
        cut = (values[:, count - 1] == values[:, count]).nonzero().squeeze(1)
        part, last = scores[cut], values[cut, count - 1].unsqueeze(1)
        better, equal = part > last, part == last
        room = count - better.sum(1, keepdim=True)
        chosen[cut] = (better | (equal & (equal.cumsum(1) <= room))).nonzero()[:, 1].view(-1, count)
    chosen = chosen.sort(1).values
    return chosen.gather(1, scores.gather(1, chosen).sort(dim=1, descending=True, stable=True).indices)


def top_without(scores: torch.Tensor, taken: torch.Tensor, most: int, count: int) -> torch.Tensor:
    """The same without some items.

    Args:
        scores: [B, I], as for ``top``.
        taken: [B, I] bool: the items that are left out.
        most: number of them in a row at most. To count them takes longer than all the rest.
        count: at least 1.

    Returns:
        item indices, [B, min(count, I)], -1 behind the last.
    """
    # As many more as can fall out: masking the scores instead could not tell a taken item from one with -inf.
    best = top(scores, count + most)
    gone = taken.gather(1, best)
    left = gone.byte().sort(dim=1, stable=True).indices[:, :count]
    return best.gather(1, left).masked_fill(gone.gather(1, left), -1)


def _best(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and items of ``scores.topk(count)``, [B, count] each; which items of the last value is open there as well.

    On the CPU ``topk`` moves every score of a row. Of many items, only those of the groups with the ``count`` largest
    maxima can be among the best: every other score is at most as large as each of these maxima.
    """
    users, items = scores.shape
    width = items // GROUPED
    if scores.device.type != "cpu" or 4 * count > width:
        found = scores.topk(count, dim=1)
        return found.values, found.indices
    grouped = scores[:, : GROUPED * width].view(users, GROUPED, width)  # a group stands in a column
    groups = grouped.amax(1).topk(count, dim=1, sorted=False).indices
    among = grouped.gather(2, groups.unsqueeze(1).expand(-1, GROUPED, -1)).flatten(1)
    rest = scores[:, GROUPED * width :]
    places = torch.arange(GROUPED * width, items).expand(users, -1)
    known = (torch.arange(GROUPED).unsqueeze(1) * width + groups.unsqueeze(1)).flatten(1)
    found = torch.cat([among, rest], 1).topk(count, dim=1)
    return found.values, torch.cat([known, places], 1).gather(1, found.indices)


def _count(flags: torch.Tensor) -> torch.Tensor:
    """Sums of rows of zeros and ones, [B, I] float32 -> [B] int64; float32 counts exactly up to 2^24."""
    return torch.stack([part.sum(1).long() for part in torch.split(flags, EXACT, 1)]).sum(0)
