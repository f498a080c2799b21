"""Finds the best epoch and decides when to stop."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Best", "is_better"]


@dataclass
class Best:
    """The best epoch so far."""

    epoch: int
    value: float
    weights: dict[str, Tensor]


def is_better(value: float, best: float, decimals: int | None) -> bool:
    return value > best if decimals is None else round(value, decimals) >= round(best, decimals)
