"""Item-kNN: what co-occurs with the history."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from decorec.data.batches import Batch
from decorec.models.floors import Floor
from decorec.models.item_data import ItemData
from decorec.nn.sparse import Propagation, neighbours

__all__ = ["ItemKnn"]


class ItemKnn(Floor):
    """Score: normalised co-occurrence with the items of the history, summed with their weights."""

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])

    def item_representations(self) -> Tensor:
        """Empty, [1, I, 0]: the scores use the graph."""
        return self.graph.values.new_empty(1, self.item_data.item_count, 0)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sums over the history, [P, I]; one prediction per sequence, after its last item."""
        return neighbours(self.graph, batch, representations.shape[1], self.config.decay)
