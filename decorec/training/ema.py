"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """Average of the trainable parameters: average <- decay * average + (1 - decay) * parameter, from the first update.

    Constant tensors (features, graph, frozen weights) are neither copied nor changed.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.tensors: list[Tensor] = []
        """The average of each of ``parameters``; empty before the first update."""
        self._decay = decay

    def update(self) -> None:
        """Update the average with the current weights."""
        if not self.tensors:
            self.tensors = [parameter.detach().clone() for parameter in self.parameters]
        else:
            torch._foreach_lerp_(self.tensors, [p.detach() for p in self.parameters], 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights while the context is open."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, parameter in enumerate(self.parameters):
            parameter.data, self.tensors[index] = self.tensors[index], parameter.data
