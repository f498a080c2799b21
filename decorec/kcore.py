"""The k-core of users and items: everybody has at least k interactions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from decorec.codes import Codes

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
    from decorec.tallies import peel, tally

    rows = np.arange(len(users))
    user_counts, item_counts = (np.zeros(int(codes.max(initial=-1)) + 1, np.int32) for codes in (users, items))
    passes: list[dict[str, object]] = []
    while True:
        user_counts[:] = item_counts[:] = 0
        left = {"users": tally(users, rows, user_counts), "items": tally(items, rows, item_counts)}
        if passes:
            passes[-1] |= {**left, "interactions": len(rows)}
        stay, small_users, small_items = peel(users, items, rows, user_counts, item_counts, k)
        if stay == len(rows):
            break
        rows = rows[:stay]
        dropped = {f"user below {k}": small_users, f"item below {k}": small_items}
        passes.append({"step": f"{k}-core, pass {len(passes) + 1}", "dropped": dropped})
    keep = np.zeros(len(users), dtype=bool)
    keep[rows] = True
    return Core(keep, passes)
