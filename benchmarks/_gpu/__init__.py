"""The parts of the benchmark gpu: each measures one thing on a device and returns values for JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks._gpu.clusters import clusters
from benchmarks._gpu.encoding import encoding
from benchmarks._gpu.environment import environment
from benchmarks._gpu.equality import equality
from benchmarks._gpu.ranking import ranking
from benchmarks._gpu.sizes import SIZES, Found, Sizes, WrongResultError
from benchmarks._gpu.training import training
from benchmarks._gpu.waits import waits

__all__ = ["PARTS", "SIZES", "Part", "Sizes", "WrongResultError"]


@dataclass(frozen=True)
class Part:
    """One of the measurements, and the seconds after which it is stopped."""

    measure: Callable[[torch.device, Sizes, float], Found]
    seconds: float


PARTS = {
    part.measure.__name__: part
    for part in (
        Part(environment, 30),
        Part(equality, 70),
        Part(waits, 60),
        Part(training, 100),
        Part(encoding, 90),
        Part(ranking, 50),
        Part(clusters, 70),
    )
}
"""In the order in which they run."""
