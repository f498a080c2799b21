"""Dropout with fast random numbers on the CPU.

torch draws one 32-bit number per element and converts it to a float: 11 ns per element, a sixth of a training step.
Here one 64-bit number decides on eight elements where the probability is a multiple of 2^-8, such as 0.5, and on four
elsewhere. There the probability is rounded to a multiple of 2^-16; the scale uses the rounded probability, so that the
expectation is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dropout", "draw", "dropout"]


def draw(shape: torch.Size, p: float, device: torch.device) -> tuple[Tensor, float]:
    """Which elements dropout keeps (bool, of ``shape``), and the factor of these elements."""
    if device.type != "cpu":
        return torch.rand(shape, device=device) >= p, 1 / (1 - p)
    kind, levels = (torch.int8, 1 << 8) if (p * (1 << 8)).is_integer() else (torch.int16, 1 << 16)
    dropped = min(round(p * levels), levels - 1)
    draws = torch.empty(-(-shape.numel() * kind.itemsize // 8), dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(kind)[: shape.numel()].view(shape) >= dropped - levels // 2
    return keep, levels / (levels - dropped)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Set elements to zero with probability ``p`` and scale the others by 1 / (1 - p)."""
    if not training or not p:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p)
    keep, factor = draw(x.shape, p, x.device)
    return x * keep.to(x.dtype).mul_(factor)


class Dropout(nn.Dropout):
    """``nn.Dropout`` with the random numbers of this module."""

    def forward(self, input: Tensor) -> Tensor:
        """Input of any shape; output of the same shape."""
        return dropout(input, self.p, self.training)
