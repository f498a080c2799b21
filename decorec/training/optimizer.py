"""The optimizer and its learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from decorec.config.training import StageConfig
from decorec.data.batches import Samples
from decorec.models.base import Recommender

__all__ = ["RowAdam", "build_optimizer", "clip", "warmup"]

Step = Callable[[], float]


class RowAdam(torch.optim.Adam):
    """Adam, of which a parameter with a sparse gradient takes a step in the rows of this gradient alone.

    A row's moments are as old as the steps that read it: they do not fade while others are read. Its second moment is
    one number, the mean over the row, so that the state of a table costs little more than the table; without a first
    moment (``row_momentum``) it costs nearly nothing.
    """

    row_momentum = True
    """Whether rows have a first moment."""

    @torch.no_grad()
    def step(self, closure: Step | None = None) -> float | None:  # type: ignore[override]
        """One step; sparse gradients must be coalesced."""
        sparse: list[tuple[dict[str, Any], nn.Parameter, Tensor]] = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in sparse:
            parameter.grad = None
        loss: float | None = super().step(closure)
        for group, parameter, gradient in sparse:
            self._step_in_rows(group, parameter, gradient.indices()[0], gradient.values())
            parameter.grad = gradient
        return loss

    def _step_in_rows(self, group: dict[str, Any], parameter: nn.Parameter, rows: Tensor, gradient: Tensor) -> None:
        """``rows`` [N] of a table [I, D] and their gradient [N, D]."""
        state = self.state[parameter]
        if not state:
            state["step"] = parameter.new_zeros(len(parameter), 1, dtype=torch.float32)
            if self.row_momentum:
                state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = parameter.new_zeros(len(parameter), 1)
        first, second = group["betas"] if self.row_momentum else (0.0, group["betas"][1])
        own = parameter.index_select(0, rows)
        gradient = gradient.add(own, alpha=group["weight_decay"])
        step = state["step"].index_select(0, rows).add_(1)
        new = {"step": step}
        if self.row_momentum:
            new["exp_avg"] = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - first)
        mean = new.get("exp_avg", gradient)
        square = state["exp_avg_sq"].index_select(0, rows).lerp_(gradient.square().mean(1, keepdim=True), 1 - second)
        new["exp_avg_sq"] = square
        for name, values in new.items():
            state[name].index_copy_(0, rows, values)
        step = step.to(own.dtype)
        rate = group["lr"] / (1 - first**step)
        length = (square / (1 - second**step)).sqrt_().add_(group["eps"])
        parameter.index_copy_(0, rows, own.sub_(mean * (rate / length)))


def clip(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their common norm is at most ``largest``, as torch does; they may be sparse."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    values = [gradient.values() if gradient.is_sparse else gradient for gradient in gradients]
    factor = (largest / (nn.utils.get_total_norm(values) + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(values, factor)


def build_optimizer(model: Recommender, config: StageConfig) -> RowAdam:
    """Adam over the model's groups.

    Raises:
        ValueError: the groups do not contain every trainable parameter exactly once (with this mistake the released
            code does not train its embedding tables).
    """
    groups = model.parameter_groups(config)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    wrong = [name for key, name in trainable.items() if grouped.count(key) != 1]
    if wrong or set(grouped) - set(trainable):
        raise ValueError(f"optimizer groups do not contain each trainable parameter exactly once: {wrong}")
    for group in groups:
        group["base_lr"] = group["lr"]
    adam = RowAdam(groups, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True)
    adam.row_momentum = config.id_momentum
    return adam


def warmup(step: int, samples: Samples, config: StageConfig) -> float:
    """Factor of the learning rates at ``step``: linear over the first ``warmup_epochs``, then 1."""
    steps = config.warmup_epochs * samples.target_count / config.batch_size
    return min(1.0, (step + 1) / steps) if steps else 1.0
