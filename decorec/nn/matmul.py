"""Large dense products in float32 on the CPU through oneDNN.

torch uses MKL, which for large products reaches about 0.6 to 0.9 of oneDNN's speed on AMD processors and about the same
speed on Intel's. oneDNN prepares for every shape that it has not seen before, which takes about a millisecond, and the
number of tokens differs from batch to batch: smaller products are torch's own, as those of other types and devices are.
Both libraries compute in float32; they only differ in the order of summation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from decorec.processor import pinned

__all__ = ["Linear", "gram", "linear", "product", "working_type"]

AVAILABLE: bool = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
SMALLEST = 1 << 16 if pinned() else 1 << 27
"""With fewer multiplications the call costs more than it saves (``python -m benchmarks products``). Where MKL is pinned
to what all processors have, it is slow."""
LONGEST = 1 << 13
"""With more rows a transposed copy costs more than it saves."""


def working_type(x: Tensor) -> torch.dtype:
    """The type in which products of ``x`` are computed: autocast's if that is on, else the type of ``x``."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _suits(left: Tensor, right: Tensor) -> bool:
    return (
        AVAILABLE
        and left.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and left.numel() * right.shape[0] >= SMALLEST
        and not torch.is_autocast_enabled("cpu")
    )


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T (+ bias)``, without gradient; left [..., K], right [N, K] -> [..., N]."""
    if not _suits(left, right):
        return functional.linear(left, right, bias)
    if left.stride(-1) == 1 and not left.is_contiguous():
        left = left.contiguous()  # rows with gaps between them are slow in oneDNN
    if not (right.is_contiguous() or right.T.is_contiguous()):
        right = right.contiguous()  # and columns with gaps are hundreds of times slower
    out: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return out


def gram(left: Tensor, right: Tensor) -> Tensor:
    """``left.T @ right``, without gradient; left [T, N], right [T, K] -> [N, K], contiguous."""
    if left.dtype != torch.float32 or len(left) > LONGEST:
        return left.T @ right
    # oneDNN copies a transposed first factor, so the narrower one is put first.
    if left.shape[1] > right.shape[1]:
        return product(right.T, left.T).T.contiguous()
    return product(left.T, right.T)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T (+ bias)``, with gradients; x [..., K], weight [N, K] -> [..., N]."""
    if not _suits(x, weight):
        return functional.linear(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


class Linear(nn.Linear):
    """``nn.Linear`` with the products of this module."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        return linear(input, self.weight, self.bias)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        return (
            product(grad, weight.T) if for_x else None,
            gram(flat, x.reshape(-1, x.shape[-1])) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )
