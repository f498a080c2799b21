"""The k-core of users and items: everybody has at least k interactions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from decorec.codes import Codes, distinct

__all__ = ["Core", "kcore"]


@dataclass(frozen=True)
class Core:
    """``keep`` [interactions] bool; ``passes``: per pass, what was dropped why and what was left."""

    keep: npt.NDArray[np.bool_]
    passes: list[dict[str, object]] = field(default_factory=list)


def kcore(users: Codes, items: Codes, k: int) -> Core:
    """Drop interactions of users and of items with fewer than ``k``, again and again, until nothing changes.

    The fixed point does not depend on the order of dropping. A pass counts an interaction of a small user under the
    user, and only the others of small items under the item.

    Args:
        users: [interactions] codes from 0.
        items: [interactions] codes from 0.
        k: least number of interactions.
    """
    keep = np.zeros(len(users), dtype=bool)
    rows = np.arange(len(users))
    passes: list[dict[str, object]] = []
    while True:
        small_user = (np.bincount(users) < k)[users]
        small_item = (np.bincount(items) < k)[items]
        stay = ~(small_user | small_item)
        if stay.all():
            break
        users, items, rows = users[stay], items[stay], rows[stay]
        dropped = {
            f"user below {k}": int(small_user.sum()),
            f"item below {k}": int((small_item & ~small_user).sum()),
        }
        left = {"users": distinct(users), "items": distinct(items), "interactions": len(rows)}
        passes.append({"step": f"{k}-core, pass {len(passes) + 1}", "dropped": dropped, **left})
    keep[rows] = True
    return Core(keep, passes)
