"""EASE (Steck, WWW 2019): each item as a ridge regression on all others over the users' histories."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.models.closed_form import ClosedForm, Solver

__all__ = ["Ease"]


class Ease(ClosedForm):
    """An item of the history has its score from the other items of the history; one that nobody has, has score 0."""

    def solve(self, solver: Solver, counts: Any, items: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        """The coefficients within a block of items."""
        return solver(counts, self.config.ridge)
