"""What EASE and its relatives share: counts of the training part, the coefficients as buffers, and the scores.

Shapes: I items, P predictions, m neighbours of an item, n items of a block: all I, or some and the one that they score.

The coefficients are stored, not computed again where a model is read: a checkpoint holds 4 I^2 bytes (10 MB for 1,585
items, 1.1 GB for 16,628), or 8 I m with neighbours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.models.at_once import SQUARED
from decorec.models.floors import Floor
from decorec.models.item_data import ItemData
from decorec.nn.ridge import item_weights, last_weights
from decorec.nn.sparse import Propagation, weighted_histories

__all__ = ["ClosedForm", "Solver", "co_counts"]

Solver = Callable[..., npt.NDArray[np.float32]]
"""``item_weights`` for all items, or ``last_weights`` for the last item of a block."""


class ClosedForm(Floor):
    """Score: the history, with the weights of its items, times the coefficients B [I, I]."""

    weights: Tensor
    """[I, I] from row to column; with neighbours [I, m]: to the item of the row, from those in ``sources``."""
    sources: Tensor | None
    """[I, m] int32, ascending; -1 where there are fewer than m."""

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        items = item_data.item_count
        width = items if config.neighbours is None else self.sources_per_item()
        self.register_buffer("weights", torch.zeros(items, width))
        sources = None if config.neighbours is None else torch.full((items, width), -1, dtype=torch.int32)
        self.register_buffer("sources", sources)
        self._graph: Propagation | None = None

    @abstractmethod
    def solve(self, solver: Solver, counts: Any, items: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        """The coefficients within a block of items.

        Args:
            solver: what solves the systems of the block.
            counts: [n, n] number of users that have both items; sparse for all items.
            items: those of the block; None: all.
        """

    def sources_per_item(self) -> int:
        """Largest number m of items that score an item, where it is restricted."""
        return self._most()

    def nearest(self, counts: Any) -> npt.NDArray[np.int32]:
        """The items that score each item, [I, m] ascending, -1 where there are fewer."""
        return _most_together(counts, self._most())

    def _most(self) -> int:
        """Largest number of neighbours of one kind."""
        return min(int(self.config.neighbours), self.item_data.item_count - 1)

    def observe(self, training: Sequences) -> None:
        """Count, and solve."""
        super().observe(training)
        items = self.item_data.item_count
        if self.sources is None and items > SQUARED:
            raise DecorecError(
                f"{self.config.name}: expected at most {SQUARED:,} items, found {items:,}, whose system takes "
                f"{16 * items**2 / 1e9:.0f} GB; set its key neighbours, such as 200"
            )
        counts = co_counts(training, items)
        if self.sources is None:
            found = self.solve(item_weights, counts, None)
        else:
            sources = self.nearest(counts)
            found = self._each(counts, sources)
            self.sources.copy_(torch.from_numpy(sources))
        self.weights.copy_(torch.from_numpy(found))
        self._graph = None

    def _each(self, counts: Any, sources: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """The coefficients to each item from those in ``sources``, [I, m]."""
        from threadpoolctl import threadpool_limits

        found = np.zeros(sources.shape, dtype=np.float32)
        place = np.full(len(sources), -1)
        with threadpool_limits(limits=1):
            for item, row in enumerate(sources):
                known = row >= 0
                block = np.append(row[known], item).astype(np.int64)
                found[item, known] = self.solve(last_weights, _block(counts, block, place), block)
        return found

    def item_representations(self) -> Tensor:
        """B, [1, I, I]; with neighbours empty, [1, I, 0]: the scores use a sparse matrix."""
        if self.sources is None:
            return self.weights[None]
        if self._graph is None:
            known = self.sources >= 0
            crow = torch.cat([known.new_zeros(1, dtype=torch.int32), known.sum(1).cumsum(0).int()])
            self._graph = Propagation(crow, self.sources[known], self.weights[known])
        return self.weights.new_empty(1, len(self.weights), 0)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sums over the history, [P, I]; one prediction per sequence, after its last item."""
        history = weighted_histories(batch, representations.shape[1], self.config.decay)
        if self._graph is not None:
            near: Tensor = self._graph(history).T
            return near
        found: Tensor = history.T.to_sparse() @ representations[0]
        return found


def co_counts(training: Sequences, items: int) -> Any:
    """Number of users that have both items, X'X of the binary histories X; scipy CSR float64 [I, I]."""
    import scipy.sparse

    users = training.owners
    ones = np.ones(len(users))
    histories = scipy.sparse.csr_array((ones, (users, training.items)), shape=(len(training.users), items))
    histories.sum_duplicates()
    histories.data[:] = 1
    counts = (histories.T @ histories).tocsr()
    counts.sort_indices()
    return counts


def _most_together(counts: Any, most: int) -> npt.NDArray[np.int32]:
    """The ``most`` items with the largest count beside their own, G_ij / sqrt(G_ii G_jj); of those with any.

    If ``most`` leaves out no item, also those without: then nothing is restricted.
    """
    items = counts.shape[0]
    if most >= items - 1:
        others = np.tile(np.arange(items - 1, dtype=np.int32), (items, 1))
        return others + (others >= np.arange(items)[:, None])
    pairs = counts.tocoo()
    apart = pairs.row != pairs.col
    row, col, both = pairs.row[apart], pairs.col[apart], pairs.data[apart]
    own = np.sqrt(counts.diagonal())
    order = np.lexsort((col, -both / (own[row] * own[col]), row))
    row, col = row[order], col[order]
    begins = np.searchsorted(row, np.arange(items))
    place = np.arange(len(row)) - begins[row]
    found = np.full((items, most), -1, dtype=np.int32)
    found[row[place < most], place[place < most]] = col[place < most]
    return np.sort(found, axis=1)


def _block(matrix: Any, items: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Rows and columns ``items`` of a CSR matrix, dense; ``place`` [I] is filled with -1, and is so again after."""
    place[items] = np.arange(len(items))
    begins, lengths = matrix.indptr[items], np.diff(matrix.indptr)[items]
    where = np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    columns, rows = place[matrix.indices[where]], np.repeat(np.arange(len(items)), lengths)
    inside = columns >= 0
    found = np.zeros((len(items), len(items)))
    found[rows[inside], columns[inside]] = matrix.data[where[inside]]
    place[items] = -1
    return found
