"""The training loss, computed in log space and with limited memory.

Shapes: M modalities, P predictions, K targets of a prediction, C rows of representations per modality, D width, R rows
(states of all modalities).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from decorec.nn.at_once import KEPT, ROWS_AT_ONCE, TILE
from decorec.nn.division import Division
from decorec.nn.matmul import gram, product, working_type

__all__ = ["SampledNegatives", "cross_modal_loss", "intra_modal_loss", "weighted_cross_entropy"]


@dataclass(frozen=True)
class SampledNegatives:
    """Items drawn with replacement, which represent all items in the denominator."""

    items: Tensor
    """[S] int64: the different items drawn."""
    log_expected: Tensor
    """[S] float32: log of the expected number of draws of the item (logQ) minus log of the actual number."""


def cross_modal_loss(
    states: Tensor,
    representations: Tensor,
    targets: Tensor,
    temperature: float,
    alpha: float,
    drawn: SampledNegatives | None = None,
    division: Division | None = None,
) -> Tensor:
    """Mean over targets of the sum over modalities of eq. 15.

    With logits_m = states_m . [representations in all modalities] / temperature (eq. 12), the loss of modality m is
    logsumexp(all logits_m) - logsumexp(logit of the target in m, alpha * its logits in the others); the denominator's
    logits are not scaled by alpha. One modality gives plain cross-entropy over all items.

    If a prediction has several targets (the next item and those after it), the k-th has the weight 1 / k in the mean,
    as a pair of items at that distance has in the co-occurrence matrix (eq. 1).

    Under autocast, products are computed in its type and everything else in float32.

    Of several processes that divide the items, each gives its own states and targets and the rows of its own items. The
    loss is the part of this process: the parts of all add up to the mean over all targets, and so do their gradients.

    Args:
        states: [M, P, D].
        representations: [M, C, D]; rows after the items only enter the denominator.
        targets: [P] or [P, K] int64, row of the target in each modality; -1 where there is none.
        temperature: tau.
        alpha: weight of the other modalities' logits of the target, in [0, 1].
        drawn: items of the denominator besides the target (Bengio and Senecal 2008); None: all items.
        division: of the items, where ``representations`` are those of this process; targets are numbered among all.
    """
    loss: Tensor = _CrossModalLoss.apply(states, representations, targets, temperature, alpha, drawn, division)
    return loss


def intra_modal_loss(
    states: Tensor,
    representations: Tensor,
    targets: Tensor,
    temperature: float,
    drawn: SampledNegatives | None = None,
    division: Division | None = None,
) -> Tensor:
    """Mean over targets of the sum over modalities of the cross-entropy among the items in that modality alone.

    ``cross_modal_loss`` with alpha = 0 is another loss: the target in the other modality adds exp(0) = 1 to the
    numerator of eq. 14 and stays in the denominator of eq. 15, as a negative.

    Args:
        states: [M, P, D].
        representations: [M, C, D]; rows after the items only enter the denominator.
        targets: [P] or [P, K] int64, as in ``cross_modal_loss``.
        temperature: tau.
        drawn: items of the denominator besides the target, the same in each modality; None: all items.
        division: as in ``cross_modal_loss``.
    """
    pairs = zip(states[:, None], representations[:, None], strict=True)  # [1, P, D] and [1, C, D]
    return torch.stack([cross_modal_loss(*pair, targets, temperature, 1.0, drawn, division) for pair in pairs]).sum()


def weighted_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The same mean for logits that are no product of states and items: cross-entropy with one or several targets.

    Args:
        logits: [P, C].
        targets: [P] or [P, K] int64, as in ``cross_modal_loss``.
    """
    if targets.dim() == 1:
        return functional.cross_entropy(logits, targets)
    weights = (targets >= 0) / torch.arange(1, targets.shape[1] + 1, device=targets.device)
    logs = torch.log_softmax(logits, 1).gather(1, targets.clamp_min(0))
    return -(weights * logs).sum() / weights.sum()


class _CrossModalLoss(Function):
    """Loss and gradients in one pass, tile by tile, so that backward needs no array of the size of all logits.

    The gradient of the mean loss is known up to the factor that backward receives. A tile holds the softmax over its
    own columns. The softmax over all columns is this times one factor per row, which is applied to the [R, D] factors
    of the products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        representations: Tensor,
        targets: Tensor,
        temperature: float,
        alpha: float,
        drawn: SampledNegatives | None,
        division: Division | None,
    ) -> Tensor:
        modalities, predictions, width = states.shape
        items = representations.shape[1]
        device = states.device
        work = working_type(states)
        precise = torch.promote_types(states.dtype, torch.float32)
        everyone, targets = states.to(precise), targets if targets.dim() == 2 else targets[:, None]
        places, own = targets, slice(None)
        if division is not None:
            own, predictions = division.place(predictions)
            everyone = division.spread(everyone, own, predictions, 1)
            targets = division.spread(targets, own, predictions)
            places = division.local(targets)
        with torch.autocast(device.type, enabled=False):
            whole = representations.reshape(modalities * items, width).to(work)
            rows = (everyone / temperature).reshape(modalities * predictions, width).to(work)
            offsets = torch.arange(modalities, device=device) * items
            weights = (targets >= 0).repeat(modalities, 1)
            weights = weights / torch.arange(1, targets.shape[1] + 1, dtype=precise, device=device)
            chosen = torch.where(places[..., None] >= 0, places[..., None] + offsets, -1).repeat(modalities, 1, 1)
            scale = torch.full((modalities, modalities), alpha, dtype=precise, device=device)
            scale = scale.fill_diagonal_(1.0).repeat_interleave(predictions, 0)
            columns = None if drawn is None else _Columns(drawn, offsets, precise)
            needed = any(ctx.needs_input_grad[:2])
            grad_rows = torch.zeros_like(rows, dtype=precise) if needed else None
            grad_whole = torch.zeros_like(whole, dtype=precise) if needed else None
            total = torch.zeros((), dtype=precise, device=device)
            # If all weights are 1, their sum is known without a transfer from the device.
            all_there = targets.shape[1] == 1 and division is None
            count = predictions if all_there else weights.sum() / modalities
            for begin in range(0, len(rows), ROWS_AT_ONCE):
                block = slice(begin, begin + ROWS_AT_ONCE)
                total += _block(
                    rows[block],
                    whole,
                    chosen[block],
                    weights[block],
                    scale[block],
                    columns,
                    division,
                    None if grad_rows is None else grad_rows[block],
                    grad_whole,
                )
            if grad_rows is not None and grad_whole is not None:
                grad_rows.div_(temperature * count)
                if division is not None:
                    grad_rows = division.total(grad_rows)
                ctx.gradients = (
                    grad_rows.view(everyone.shape)[:, own].to(states.dtype),
                    grad_whole.div_(count).view_as(representations).to(representations.dtype),
                )
            # All have the same sum, so that of one process is what all add up to.
            return total / count if division is None or not division.number else torch.zeros_like(total)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        (grad_states, grad_representations), ctx.gradients = ctx.gradients, None
        return grad_states.mul_(grad_output), grad_representations.mul_(grad_output), None, None, None, None, None


class _Columns:
    """The sampled columns of all modalities, and the correction of their logits."""

    def __init__(self, drawn: SampledNegatives, offsets: Tensor, dtype: torch.dtype) -> None:
        self.index = (drawn.items + offsets[:, None]).flatten()
        self.correction = drawn.log_expected.to(dtype).repeat(len(offsets))


def _block(
    rows: Tensor,
    whole: Tensor,
    chosen: Tensor,
    weights: Tensor,
    scale: Tensor,
    columns: _Columns | None,
    division: Division | None,
    grad_rows: Tensor | None,
    grad_whole: Tensor | None,
) -> Tensor:
    """Summed loss of a block of rows; its gradients are added to ``grad_rows`` and ``grad_whole``.

    Args:
        rows: [R, D] states, divided by the temperature.
        whole: [M * C, D].
        chosen: [R, K, M] rows of the targets in ``whole``; -1: not there.
        weights: [R, K] weights of the targets; 0: none.
        scale: [R, M] factor of a target's logits in the numerator.
        columns: the sampled columns; None: all.
        division: of the items; None: all are in ``whole``.
        grad_rows: [R, D] or None.
        grad_whole: [M * C, D] or None.
    """
    tiles = _Tiles(rows, whole, chosen, columns, keep=grad_rows is not None)
    parts = torch.stack([lse for _, _, lse in tiles.first()], 1)
    denominator = torch.logsumexp(parts, 1)
    if division is not None:
        denominator = division.logsumexp(denominator)
    targets = whole[chosen.clamp_min(0)].to(scale.dtype)  # [R, K, M, D]; rows without a target have weight 0
    precise = rows.to(scale.dtype)
    logits = (targets.flatten(1, 2) @ precise[:, :, None]).view(chosen.shape)
    if division is not None:  # one process has the row of a target
        elsewhere = chosen < 0
        logits = division.total(logits.masked_fill(elsewhere, 0))
    total = weights.sum(1)
    if columns is not None:  # the target is added to the sampled items, of which it is not one
        own = logits.masked_fill(~_distinct(chosen[..., 0])[..., None], -torch.inf)
        denominator = torch.logaddexp(denominator, torch.logsumexp(own, (1, 2)))
    positive = logits * scale[:, None]
    numerator = torch.logsumexp(positive, 2)
    if grad_rows is not None and grad_whole is not None:
        for number, (where, soft) in enumerate(tiles.second()):
            factor = (total * torch.exp(parts[:, number] - denominator))[:, None]
            grad_rows.addcmul_(product(soft, whole[where].T), factor)
            part = gram(soft, (precise * factor).to(soft.dtype))
            if isinstance(where, slice):
                grad_whole[where] += part
            else:
                grad_whole.index_add_(0, where, part.to(grad_whole.dtype))
        excess = -torch.exp(positive - numerator[..., None]) * scale[:, None] * weights[..., None]
        if columns is not None:
            excess += torch.exp(own - denominator[:, None, None]) * total[:, None, None]
        if division is not None:
            excess.masked_fill_(elsewhere, 0)
        grad_rows += (excess.flatten(1)[:, None] @ targets.flatten(1, 2))[:, 0]
        pulled = excess[..., None] * precise[:, None, None]
        grad_whole.index_add_(0, chosen.clamp_min(0).flatten(), pulled.flatten(0, 2))
    return (weights * (denominator[:, None] - numerator)).sum()


def _distinct(targets: Tensor) -> Tensor:
    """[R, K] which targets exist (not -1) and do not occur earlier in their row."""
    count = targets.shape[1]
    earlier = torch.ones(count, count, dtype=torch.bool, device=targets.device).tril_(-1)
    again = (targets[:, :, None] == targets[:, None, :]) & earlier
    return (targets >= 0) & ~again.any(2)


Where = slice | Tensor


class _Tiles:
    """Softmax of a block of rows, over one tile of columns after the other."""

    def __init__(self, rows: Tensor, whole: Tensor, chosen: Tensor, columns: _Columns | None, keep: bool) -> None:
        self.rows, self.whole, self.chosen, self.columns = rows, whole, chosen, columns
        self.count = len(whole) if columns is None else len(columns.index)
        self.step = -(-self.count // -(-self.count // max(1, TILE // len(rows))))  # tiles of equal width
        self.keep = keep and len(rows) * self.count <= KEPT
        self.kept: list[tuple[Where, Tensor]] = []

    def _compute(self) -> Iterator[tuple[Where, Tensor, Tensor]]:
        """Columns, softmax over them [R, columns] and logsumexp over them [R], tile by tile."""
        for begin in range(0, self.count, self.step):
            part = slice(begin, min(begin + self.step, self.count))
            where: Where = part if self.columns is None else self.columns.index[part]
            logits = product(self.rows, self.whole[where])
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            if self.columns is not None:
                logits -= self.columns.correction[part]
                for hit in self.chosen.flatten(1).T:
                    logits.masked_fill_(where == hit[:, None], -1e30)
            soft = torch.softmax(logits, 1)
            # The largest softmax is exactly 1 / sum(exp(logits - maximum)).
            yield where, soft.to(self.rows.dtype), logits.amax(1) - soft.amax(1).log()

    def first(self) -> Iterator[tuple[Where, Tensor, Tensor]]:
        """All tiles."""
        for where, soft, lse in self._compute():
            if self.keep:
                self.kept.append((where, soft))
            yield where, soft, lse

    def second(self) -> Iterator[tuple[Where, Tensor]]:
        """All tiles once more."""
        if self.keep:
            yield from self.kept
        else:
            yield from ((where, soft) for where, soft, _ in self._compute())
