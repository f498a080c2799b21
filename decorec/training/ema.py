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
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average: list[Tensor] = []
        self._decay = decay

    def update(self) -> None:
        """Update the average with the current weights."""
        if not self._average:
            self._average = [parameter.detach().clone() for parameter in self._parameters]
        else:
            torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights while the context is open."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, parameter in enumerate(self._parameters):
            parameter.data, self._average[index] = self._average[index], parameter.data
