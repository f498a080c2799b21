"""What models have in common whose loss can be taken over a part of the items, as with sampled negatives."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.nn.losses import SampledNegatives
from decorec.nn.sampled_softmax import read_items

__all__ = ["SampledRecommender"]


class SampledRecommender(Recommender):
    """A model that trains on all items, or with sampled negatives on those that a step reads.

    Shapes: M modalities, N items that are read, D width.
    """

    supports_sampled_softmax = True

    def loss(self, batch: Batch) -> Tensor:
        """Over all items, or over sampled ones; then the other items are not read."""
        drawn = self.sampled_negatives()
        if drawn is None:
            return self.loss_over(self.item_representations(), batch)
        items, batch, drawn = read_items(batch, drawn)
        return self.loss_over(self.representations_of(items), batch, drawn)

    @abstractmethod
    def loss_over(self, representations: Tensor, batch: Batch, drawn: SampledNegatives | None = None) -> Tensor:
        """The loss over items with these ``representations`` [M, N, D]; the batch and the draw number items by them."""
