"""Copies arrays of the processor to the device that computes, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["moved"]


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copies on ``device`` of tensors of the processor with 8 bytes an element.

    To a GPU they go in one transfer from pinned memory, so that the processor can prepare the next batch meanwhile.
    """
    flat = [tensor.view(torch.int64).flatten() for tensor in tensors]
    buffer = torch.empty(sum(map(len, flat)), dtype=torch.int64, pin_memory=device.type == "cuda")
    parts = torch.split(torch.cat(flat, out=buffer).to(device, non_blocking=True), [len(part) for part in flat])
    return [part.view(tensor.dtype).view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
