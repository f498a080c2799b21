"""How much models hold in memory at a time; without torch, so that a plan can count with it."""

from __future__ import annotations

__all__ = ["FEATURES", "REPRESENTED", "SQUARED"]

FEATURES = 1 << 28
"""Elements of the largest features that are held in memory (1 GB) by a training that reads some of their rows alone."""
REPRESENTED = 1 << 20
"""Items of the largest catalogue whose representations are held at once (2 GB with two modalities and width 256)."""
SQUARED = 20_000
"""Items for which a system over all of them is solved: 16 I^2 bytes are 6.4 GB, and a job of training has 8."""
