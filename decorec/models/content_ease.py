"""EASE with text and picture: as rows beside the users, as a prior mean, or added.

CEASE and Add-EASE: Jeunen, Van Balen, Goethals, RecSys 2020. L3AE: CIKM 2025. One estimator with another Gram matrix or
another prior mean (``decorec.nn.ridge``). Items without a training user have coefficients as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decorec.data.sequences import Sequences
from decorec.models.closed_form import ClosedForm, Solver
from decorec.models.floors import item_features

__all__ = ["ContentEase"]

ROWS = 512
"""Items whose nearest ones are searched at a time."""


class ContentEase(ClosedForm):
    """EASE on the users, and on text and picture."""

    def observe(self, training: Sequences) -> None:
        """Count, and solve."""
        self._features = item_features(self.item_data, self.config.features).double().cpu().numpy()
        super().observe(training)
        del self._features

    def solve(self, solver: Solver, counts: Any, items: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        """The coefficients within a block of items."""
        config = self.config
        rows = self._features if items is None else self._features[items]
        cosines = rows @ rows.T
        if config.side == "gram":
            cosines *= config.weight**2
            return solver(cosines + counts, config.ridge)
        if config.feature_ridge is not None:
            alike = solver(cosines, config.feature_ridge)
        else:
            alike = _off_diagonal(cosines, items)
        del cosines  # before the next system of this size
        if config.side == "prior":
            return solver(counts, config.ridge, alike, config.weight * config.ridge)
        found = solver(counts, config.ridge)
        found += config.weight * alike
        return found

    def sources_per_item(self) -> int:
        """As many from text and picture as from the users."""
        return min(2 * int(self.config.neighbours), self.item_data.item_count - 1)

    def nearest(self, counts: Any) -> npt.NDArray[np.int32]:
        """The items that score each item: those that come with it, and those that are like it, [I, m]."""
        together = super().nearest(counts)
        width = self.sources_per_item()
        if together.shape[1] == width:
            return together
        found = np.full((len(together), width), -1, dtype=np.int32)
        features = torch.from_numpy(self._features).float()
        for begin in range(0, len(features), ROWS):
            cosines = features[begin : begin + ROWS] @ features.T
            cosines[torch.arange(len(cosines)), begin + torch.arange(len(cosines))] = -torch.inf
            alike = cosines.topk(together.shape[1], 1).indices.numpy()
            both = np.sort(np.concatenate([together[begin : begin + ROWS], alike], 1), axis=1)
            both[:, 1:][both[:, 1:] == both[:, :-1]] = -1
            found[begin : begin + ROWS] = np.sort(both, axis=1)[:, -width:]
        return found


def _off_diagonal(cosines: npt.NDArray[np.float64], items: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
    """The cosines as coefficients: all columns, or within a block the last one without its own item."""
    if items is not None:
        return cosines[:-1, -1].astype(np.float32)
    found = cosines.astype(np.float32)
    np.fill_diagonal(found, 0)
    return found
