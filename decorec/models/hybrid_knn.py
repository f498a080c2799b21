"""Hybrid-kNN: item-kNN and content-kNN together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.models.floors import Floor, content_scores, item_features
from decorec.models.item_data import ItemData
from decorec.nn.sparse import Propagation, weighted_histories

__all__ = ["HybridKnn"]


class HybridKnn(Floor):
    """Score: weight * co-occurrence + (1 - weight) * cosine, each divided by its largest value for the user.

    The scales of the two have nothing to do with each other; without the division one would decide alone.
    """

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])

    def item_representations(self) -> Tensor:
        """Text and picture side by side, [1, I, text + image width]."""
        return item_features(self.item_data, self.config.features)[None]

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """The weighted sum, [P, I]; one prediction per sequence, after its last item."""
        history = weighted_histories(batch, representations.shape[1], self.config.decay)
        weight = float(self.config.weight)
        together, alike = self.graph.sum_of_rows(history).T, content_scores(history, representations[0])
        return _share_of_best(together) * weight + _share_of_best(alike) * (1 - weight)


def _share_of_best(scores: Tensor) -> Tensor:
    """Each row divided by its maximum; rows without a positive one are not changed."""
    best = scores.max(1, keepdim=True).values
    return scores / torch.where(best > 0, best, 1.0)
