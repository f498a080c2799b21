"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """Average of the trainable parameters: average <- decay * average + (1 - decay) * parameter, from the first update.

    Constant tensors (features, graph, frozen weights) are neither copied nor changed. Of a parameter with a sparse
    gradient, a step changes the rows of this gradient alone. The other rows are averaged when they are next changed or
    used, all steps that they have missed at once, because nothing happened to them in between.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.tensors: list[Tensor] = []
        """The average of each of ``parameters``; empty before the first update."""
        self.seen: dict[int, Tensor] = {}
        """Index of a parameter with sparse gradients -> [rows] number of updates in the average of each."""
        self.updates = 0
        self._decay = decay

    def catch_up(self) -> None:
        """Before a step: average the rows that it will change, with the weights that they have had until now."""
        for index, seen in self.seen.items():
            rows = self._changed(index)
            own = self.parameters[index].detach().index_select(0, rows)
            average = self.tensors[index].index_select(0, rows)
            self.tensors[index].index_copy_(0, rows, self._late(average, own, seen.index_select(0, rows)))

    def update(self) -> None:
        """After a step: update the average with the current weights."""
        self.updates += 1
        if not self.tensors:
            self.tensors = [parameter.detach().clone() for parameter in self.parameters]
            sparse = [i for i, p in enumerate(self.parameters) if p.grad is not None and p.grad.is_sparse]
            self.seen = {i: self.parameters[i].new_ones(len(self.parameters[i]), dtype=torch.int64) for i in sparse}
            return
        dense = [index for index in range(len(self.parameters)) if index not in self.seen]
        if dense:
            own = [self.parameters[index].detach() for index in dense]
            torch._foreach_lerp_([self.tensors[index] for index in dense], own, 1 - self._decay)
        for index, seen in self.seen.items():
            rows = self._changed(index)
            new = self.parameters[index].detach().index_select(0, rows)
            average = self.tensors[index].index_select(0, rows)
            self.tensors[index].index_copy_(0, rows, average.lerp_(new, 1 - self._decay))
            seen.index_fill_(0, rows, self.updates)

    def _late(self, average: Tensor, own: Tensor, seen: Tensor) -> Tensor:
        """Make up in place for the updates that rows [N, D] have missed, in which the weights were ``own``."""
        missed = self._decay ** (self.updates - seen).to(own.dtype)
        return average.sub_(own).mul_(missed[:, None]).add_(own)

    def _changed(self, index: int) -> Tensor:
        """[N] the rows of a parameter that its gradient changes."""
        gradient = self.parameters[index].grad
        assert gradient is not None and gradient.is_sparse, "a parameter has sparse gradients in every step or in none"
        return gradient.indices()[0]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights while the context is open."""
        for index, seen in self.seen.items():
            self._late(self.tensors[index], self.parameters[index].detach(), seen)
            seen.fill_(self.updates)
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, parameter in enumerate(self.parameters):
            parameter.data, self.tensors[index] = self.tensors[index], parameter.data
