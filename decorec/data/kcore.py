"""The k-core: all users and all items have at least k interactions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from decorec.data.id_codes import Codes

__all__ = ["Core", "kcore"]


@dataclass(frozen=True)
class Core:
    """``keep`` [interactions] bool; ``passes``: per pass, how many were dropped for which reason, and what was left."""

    keep: npt.NDArray[np.bool_]
    passes: list[dict[str, object]] = field(default_factory=list)


def kcore(users: Codes, items: Codes, k: int) -> Core:
    """Drop interactions of users and of items with fewer than ``k``, again and again, until nothing changes.

    The result does not depend on the order of dropping. If user and item of an interaction both have fewer than ``k``,
    it is counted under the user.

    Args:
        users: [interactions] codes from 0.
        items: [interactions] codes from 0.
        k: least number of interactions.
    """
    from decorec.data.kernels import peel, tally

    user_counts, item_counts = (np.zeros(int(codes.max(initial=-1)) + 1, np.int32) for codes in (users, items))
    users_left, items_left = tally(users, user_counts), tally(items, item_counts)
    # Copies of four bytes an entry, which shrink pass by pass.
    user, item, stay = users.astype(np.int32), items.astype(np.int32), np.empty(len(users), dtype=bool)
    passes: list[dict[str, object]] = []
    while True:
        left, small_users, small_items, users_gone, items_gone = peel(user, item, stay, user_counts, item_counts, k)
        if left == len(user):
            break
        user, item = user[:left], item[:left]
        users_left, items_left = users_left - users_gone, items_left - items_gone
        dropped = {f"user below {k}": small_users, f"item below {k}": small_items}
        counts = {"users": users_left, "items": items_left, "interactions": left}
        passes.append({"step": f"{k}-core, pass {len(passes) + 1}", "dropped": dropped, **counts})
    # A user or an item that is not in the core has lost all of its interactions.
    keep = (user_counts > 0)[users]
    keep &= (item_counts > 0)[items]
    return Core(keep, passes)
