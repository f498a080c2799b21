"""Generated interactions: heavy-tailed lengths, heavy-tailed popularity of the items, and tastes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["purchases", "shopping"]

LEAST, MOST = 5, 1_000
TAIL = 2.67
"""Exponent of the lengths' tail: a mean of 8 and a median of 6, as in the Amazon categories' 5-cores."""


def shopping(
    interactions: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
    """About that many interactions of users with 5 to 1,000 items each, an item per 33 interactions.

    A user draws most items from one taste (a group of about 500 items), the others from all items; in both, few items
    are bought often.

    Returns:
        offsets [users + 1], items [interactions], number of items.
    """
    mean = LEAST * TAIL / (TAIL - 1) - 0.4
    drawn = LEAST * random.random(round(interactions / mean)) ** (-1 / TAIL)
    lengths = np.minimum(drawn, MOST).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    count = interactions // 33
    return offsets, purchases(lengths, count, 500, 0.7, 3, random), count


def purchases(
    lengths: npt.NDArray[np.int64], count: int, group: int, share: float, power: float, random: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Items [interactions] of users with ``lengths`` items each, out of ``count`` items.

    A user draws ``share`` of the items from one taste (a group of about ``group`` items), the others from all items;
    in both, the place is the ``power`` of a uniform number, so that few items are bought often.
    """
    tastes = max(1, count // group)
    taste = np.repeat(random.integers(0, tastes, len(lengths)), lengths)
    place = random.random(len(taste)) ** power
    own = random.random(len(taste)) < share
    group = count // tastes
    items = np.where(own, taste * group + (place * group).astype(np.int64), (place * count).astype(np.int64))
    return items.astype(np.int32)
