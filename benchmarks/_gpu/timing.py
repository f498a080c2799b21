"""Seconds on a device that works on its own, and the best rate that it reaches."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

__all__ = ["finish", "peak_rate", "seconds_of"]


def finish(device: torch.device) -> None:
    """Wait until the device has done all that was begun."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Until ``work`` is done, after all that was begun before."""
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def peak_rate(device: torch.device, dtype: torch.dtype, sides: tuple[int, ...], repeats: int = 10) -> float:
    """Best rate of square products, floating-point operations per second."""
    rates = []
    for side in sides:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for _ in range(4):  # the first product chooses a kernel
            spent = seconds_of(device, lambda a=left, b=right: [a @ b for _ in range(repeats)])  # type: ignore[misc]
            rates.append(2 * side**3 * repeats / spent)
    return max(rates)
