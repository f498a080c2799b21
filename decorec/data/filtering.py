"""Filters interactions: which are left, and how many each step dropped for which reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.data.id_codes import Codes, distinct
from decorec.data.kcore import kcore
from decorec.errors import DecorecError

__all__ = ["Filtered"]

Flags = npt.NDArray[np.bool_]


@dataclass
class Filtered:
    """``user``, ``item`` [interactions]: codes from 0; ``left`` [interactions]: which of them are left.

    ``steps``: one entry per filter pass: step, dropped (interactions by reason), and the users, items and interactions
    that are left.
    """

    user: Codes
    item: Codes
    left: Flags
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, user: Codes, item: Codes) -> Filtered:
        """All interactions, no step yet."""
        return cls(user, item, np.ones(len(user), dtype=bool))

    def drop(self, interactions: Flags, step: str, reason: str) -> None:
        """Drop ``interactions`` (one flag for each, also for those that are gone already) for ``reason``."""
        before = np.count_nonzero(self.left)
        self.left &= ~interactions
        self.note(step, {reason: int(before - np.count_nonzero(self.left))})

    def keep(self, items: Flags, step: str, reason: str) -> None:
        """Keep the interactions of some items (``items``: one flag per code); the others are dropped for ``reason``."""
        self.drop(~items[self.item], step, reason)

    def core(self, k: int, advice: str) -> None:
        """Reduce to the k-core.

        Raises:
            DecorecError: it is empty; the message says what each step left, and ends with ``advice``.
        """
        core = kcore(self.user[self.left], self.item[self.left], k)
        self.left[self.left] = core.keep
        self.steps += core.passes
        if not self.left.any():
            history = "; ".join(
                f"{step['step']}: {step['users']} users, {step['items']} items, {step['interactions']} interactions"
                for step in self.steps
            )
            raise DecorecError(
                f"filter: expected users and items with at least {k} interactions each, found none; left after each "
                f"step: {history}; {advice}"
            )

    def note(self, step: str, dropped: dict[str, int]) -> None:
        """Record a step and what it left."""
        left = {
            "users": distinct(self.user[self.left]),
            "items": distinct(self.item[self.left]),
            "interactions": int(np.count_nonzero(self.left)),
        }
        self.steps.append({"step": step, "dropped": dropped, **left})
