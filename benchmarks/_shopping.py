"""Generated interactions: heavy-tailed lengths, a heavy-tailed catalogue, and tastes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["shopping"]

LEAST, MOST = 5, 1_000
TAIL = 2.67
"""Exponent of the lengths' tail: a mean of 8 and a median of 6, as in the Amazon categories' 5-cores."""


def shopping(
    interactions: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
    """About that many interactions of users with 5 to 1,000 items each, an item per 33 interactions.

    A user draws most items from one taste (a group of about 500 items), the others from the whole catalogue; in both,
    few items are bought often.

    Returns:
        offsets [users + 1], items [interactions], number of items.
    """
    mean = LEAST * TAIL / (TAIL - 1) - 0.4
    drawn = LEAST * random.random(round(interactions / mean)) ** (-1 / TAIL)
    lengths = np.minimum(drawn, MOST).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    count = interactions // 33
    tastes = max(1, count // 500)
    taste = np.repeat(random.integers(0, tastes, len(lengths)), lengths)
    place = random.random(offsets[-1]) ** 3
    own = random.random(offsets[-1]) < 0.7
    group = count // tastes
    items = np.where(own, taste * group + (place * group).astype(np.int64), (place * count).astype(np.int64))
    return offsets, items.astype(np.int32), count
