"""How the processes of one training divide the items among them.

Shapes: M modalities, N items of this process, U some of those of all, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["Division", "total_of"]


@dataclass(frozen=True)
class Division(ABC):
    """Each process represents its own items alone, and compares them with the states of all processes.

    All processes call the same methods in the same order.
    """

    number: int
    count: int
    """Of this process, from 0; and of all."""
    item_count: int
    """Of all processes, at least one for each."""

    @abstractmethod
    def total(self, x: Tensor) -> Tensor:
        """The sum of the tensors of all processes, which have one shape; ``x`` may be overwritten."""

    @abstractmethod
    def largest(self, x: Tensor) -> Tensor:
        """The largest of the tensors of all processes, element by element; ``x`` may be overwritten."""

    @property
    def items(self) -> slice:
        """Those of this process: as many as another one has, or one more or less."""
        begin, end = (number * self.item_count // self.count for number in (self.number, self.number + 1))
        return slice(begin, end)

    def local(self, items: Tensor) -> Tensor:
        """Place of each of ``items`` among those of this process; -1 for an item of another one, and for -1."""
        own = self.items
        return torch.where((items >= own.start) & (items < own.stop), items - own.start, -1)

    def place(self, rows: int) -> tuple[slice, int]:
        """Where this process's ``rows`` stand among those of all, and how many these are."""
        counts = torch.zeros(self.count, dtype=torch.int64)
        counts[self.number] = rows
        ends = self.total(counts).cumsum(0).tolist()
        return slice(ends[self.number] - rows, ends[self.number]), ends[-1]

    def spread(self, x: Tensor, place: slice, rows: int, dim: int = 0) -> Tensor:
        """The rows of all processes along ``dim``, of which ``x`` are those at ``place``; without gradient."""
        shape = list(x.shape)
        shape[dim] = rows
        whole = x.new_zeros(shape)
        whole.narrow(dim, place.start, x.shape[dim]).copy_(x)
        return self.total(whole)

    def logsumexp(self, x: Tensor) -> Tensor:
        """Of the elements of all processes, without gradient; ``x`` are finite."""
        largest = self.largest(x.clone())
        return largest + self.total((x - largest).exp()).log()


def total_of(x: Tensor, division: Division) -> Tensor:
    """``Division.total`` with gradients, in float32 or more.

    Each process computes its part of the loss from the sum, so that the gradient is a sum over the processes as well.
    """
    total: Tensor = _Total.apply(x.to(torch.promote_types(x.dtype, torch.float32)), division)
    return total


class _Total(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, division: Division) -> Tensor:
        ctx.division = division
        ctx.mark_dirty(x)
        return x.copy_(division.total(x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.division.total(grad.to_dense().clone()), None
