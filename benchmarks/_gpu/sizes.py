"""What a part of the benchmark gpu gets and gives, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.training import SIZES as WORLDS

__all__ = ["SIZES", "Found", "Sizes", "WrongResultError"]

Found = dict[str, Any]
"""Values for JSON."""


class WrongResultError(Exception):
    """What was computed is not what was expected; the values are kept beside the message."""

    def __init__(self, message: str, found: Found) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Sizes:
    """How much each part computes."""

    items: int
    """Of the made data set of equality and waits, and as many users."""
    targets: int
    """Of their training steps."""
    width: dict[str, int]
    """Of their models: dim, or nothing for the defaults."""
    world: dict[str, Any]
    """Of training and ranking."""
    products: tuple[int, ...]
    """Sides of the square products whose best rate is the peak."""
    steps: int
    """Most training steps that are timed."""
    encoder: str
    pictures: int
    drawn: int
    """Different ones among the pictures."""
    batch: int
    """Pictures encoded together."""
    vectors: int
    clusters: int
    centroids: int
    """Clusters of k-means on the device, as MISSRec computes it."""


SIZES = {
    "full": Sizes(
        items=2000,
        targets=256,
        width={},
        world=WORLDS["office"],
        products=(2048, 4096, 8192),
        steps=1000,
        encoder="ViT-B-32-quickgelu",
        pictures=16_384,
        drawn=512,
        batch=256,
        vectors=200_000,
        clusters=200,
        centroids=2000,
    ),
    "small": Sizes(
        items=40,
        targets=32,
        width={"dim": 16},
        world={"items": 40, "users": 50, "mean": 5.5},
        products=(64,),
        steps=1,
        encoder="small-clip",
        pictures=4,
        drawn=2,
        batch=2,
        vectors=100,
        clusters=4,
        centroids=4,
    ),
}
