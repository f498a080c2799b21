"""The training losses, always in log space, with bounded memory.

Shapes: M modalities, P predictions, C candidates per modality, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from decorec.products import product

__all__ = ["cross_modal_loss"]

LOGITS_AT_ONCE = 1 << 22
"""Elements of the logits held at a time (16 MB in float32: they stay in the cache between the passes over them)."""


def cross_modal_loss(states: Tensor, candidates: Tensor, targets: Tensor, temperature: float, alpha: float) -> Tensor:
    """Mean over predictions of the sum over modalities of eq. 15.

    With logits_m = states_m . [candidates of all modalities] / temperature (eq. 12), the loss of modality m is
    logsumexp(all logits_m) - logsumexp(logit of the target in m, alpha * its logits in the others); the denominator's
    logits are not scaled by alpha. One modality gives plain cross-entropy over all items.

    Args:
        states: [M, P, D].
        candidates: [M, C, D]; rows beyond the items only enter the denominator.
        targets: [P] int64, row of the target in each modality's candidates.
        temperature: tau.
        alpha: weight of the other modalities' logits of the target, in [0, 1].
    """
    loss: Tensor = _CrossModalLoss.apply(states, candidates, targets, temperature, alpha)
    return loss


class _CrossModalLoss(Function):
    """Logits exist only for a block of rows at a time: loss and gradients of a block are computed together.

    The gradient of the mean loss is known up to the factor that reaches backward, so nothing of the size of the
    logits has to be kept between the passes.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, candidates: Tensor, targets: Tensor, temperature: float, alpha: float
    ) -> Tensor:
        modalities, predictions, width = states.shape
        rows = candidates.shape[1]
        whole = candidates.reshape(modalities * rows, width)
        needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_states = torch.empty_like(states) if needed else None
        grad_whole = torch.zeros_like(whole) if needed else None
        total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
        block = max(1, LOGITS_AT_ONCE // max(1, len(whole)))
        offsets = torch.arange(modalities, device=states.device) * rows
        for modality in range(modalities):
            scale = torch.full((modalities,), alpha, dtype=states.dtype, device=states.device)
            scale[modality] = 1.0
            for begin in range(0, predictions, block):
                part = states[modality, begin : begin + block] / temperature
                chosen = targets[begin : begin + block, None] + offsets
                loss, gradient = _block(part, whole, chosen, scale)
                total += loss
                if grad_states is not None and grad_whole is not None:
                    grad_states[modality, begin : begin + block] = product(gradient, whole.T)
                    grad_whole += product(gradient.T, part.T)
        if grad_states is not None and grad_whole is not None:
            ctx.save_for_backward(
                grad_states.div_(temperature * predictions), grad_whole.div_(predictions).view_as(candidates)
            )
        return total / predictions

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_states, grad_candidates = ctx.saved_tensors
        return grad_states * grad_output, grad_candidates * grad_output, None, None, None


def _block(part: Tensor, whole: Tensor, chosen: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of a block of rows and its gradient with respect to the block's logits.

    Args:
        part: [R, D] states, divided by the temperature.
        whole: [M * C, D].
        chosen: [R, M] columns of the target's candidates.
        scale: [M] factor of each of them in the numerator.
    """
    logits = product(part, whole)
    positive = logits.gather(1, chosen) * scale
    numerator = torch.logsumexp(positive, 1)
    denominator = torch.logsumexp(logits, 1)
    loss = (denominator - numerator).sum()
    gradient = logits.sub_(denominator[:, None]).exp_()
    weights = torch.exp(positive - numerator[:, None]) * scale
    gradient.scatter_add_(1, chosen, -weights)
    return loss, gradient
