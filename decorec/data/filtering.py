"""Filters interactions: which rows are left, and how many each step dropped for which reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.data.id_codes import Codes, distinct
from decorec.data.kcore import kcore
from decorec.errors import DecorecError

__all__ = ["Filtered"]


@dataclass
class Filtered:
    """``user``, ``item`` [interactions]: codes from 0; ``rows``: the interactions that are left, ascending.

    ``steps``: one entry per filter pass: step, dropped (interactions by reason), and the users, items and interactions
    that are left.
    """

    user: Codes
    item: Codes
    rows: Codes
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, user: Codes, item: Codes) -> Filtered:
        """All rows, no step yet."""
        return cls(user, item, np.arange(len(user)))

    def drop(self, rows: npt.NDArray[np.bool_], step: str, reason: str) -> None:
        """Drop some of the remaining interactions (``rows``: one flag for each of them) for ``reason``."""
        self.rows = self.rows[~rows]
        self.note(step, {reason: int(rows.sum())})

    def keep(self, items: npt.NDArray[np.bool_], step: str, reason: str) -> None:
        """Keep the interactions of some items (``items``: one flag per code); the others are dropped for ``reason``."""
        self.drop(~items[self.item[self.rows]], step, reason)

    def core(self, k: int, advice: str) -> None:
        """Reduce to the k-core.

        Raises:
            DecorecError: it is empty; the message says what each step left, and ends with ``advice``.
        """
        core = kcore(self.user[self.rows], self.item[self.rows], k)
        self.rows = self.rows[core.keep]
        self.steps += core.passes
        if not len(self.rows):
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
            "users": distinct(self.user[self.rows]),
            "items": distinct(self.item[self.rows]),
            "interactions": len(self.rows),
        }
        self.steps.append({"step": step, "dropped": dropped, **left})
