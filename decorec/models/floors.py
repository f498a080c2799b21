"""Floors: rules without training, which every trained model should beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.sparse import Propagation, neighbours

__all__ = ["ContentKnn", "ItemKnn", "Popularity"]


class Floor(Recommender):
    """A recommender without parameters."""

    def loss(self, batch: Batch) -> Tensor:
        """A floor has no loss."""
        raise TypeError(f"{type(self).__name__} has nothing to train")


class Popularity(Floor):
    """Score: the item's number of training interactions."""

    counts: Tensor

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.register_buffer("counts", torch.zeros(item_data.item_count))

    def observe(self, training: Sequences) -> None:
        """Count the interactions."""
        counted = np.bincount(training.items, minlength=self.item_data.item_count)
        self.counts.copy_(torch.from_numpy(counted))

    def item_representations(self) -> Tensor:
        """Counts, [1, I, 1]."""
        return self.counts[None, :, None]

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """The counts for everyone, [P, I]."""
        return representations[0, :, 0].expand(len(batch.predict), -1)


class ItemKnn(Floor):
    """Score: normalised co-occurrence with the items of the history, each weighted by 1 / (distance to the target)."""

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])

    def item_representations(self) -> Tensor:
        """Empty, [1, I, 0]: the scores use the graph."""
        return self.graph.values.new_empty(1, self.item_data.item_count, 0)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sums over the history, [P, I]; one prediction per sequence, after its last item."""
        return neighbours(self.graph, batch, representations.shape[1])


class ContentKnn(Floor):
    """Score: cosine to the last item, summed over the modalities; the last item itself is excluded."""

    def item_representations(self) -> Tensor:
        """Unit vectors, side by side, [1, I, text + image width]."""
        names = ("features.text", "features.image")
        return torch.cat([functional.normalize(self.item_data[name], dim=1) for name in names], 1)[None]

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Summed cosines, [P, I]."""
        last = batch.items.index_select(0, batch.predict)
        scores = representations[0].index_select(0, last) @ representations[0].T
        return scores.scatter(1, last[:, None], -torch.inf)
