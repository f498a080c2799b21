"""What models have in common that need no more of the items at a time than a part of them: to train and to rank."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.models.at_once import REPRESENTED
from decorec.models.base import Recommender
from decorec.nn.division import Division
from decorec.nn.losses import SampledNegatives
from decorec.nn.sampled_softmax import read_items
from decorec.nn.sparse import rows_of_all

__all__ = ["SampledRecommender"]


class SampledRecommender(Recommender):
    """A model that trains on all items, or with sampled negatives on those that a step reads, and ranks in tiles.

    Scores are computed from logits, which an item has by itself, and in some models from one number per row of logits
    that depends on all items, its total.

    Shapes: M modalities, N items that are read, D width, P predictions, R rows of logits.
    """

    supports_sampled_softmax = True

    @property
    def holds_whole(self) -> bool:
        """Whether there are so few items that the representations of all are made at once."""
        return self.item_data.item_count <= REPRESENTED

    def loss(self, batch: Batch) -> Tensor:
        """Over all items, or over sampled ones; then the other items are not read."""
        drawn = self.sampled_negatives()
        if drawn is None:
            return self.loss_over(self.item_representations(), batch)
        items, batch, drawn = read_items(batch, drawn)
        return self.loss_over(self.representations_of(items), batch, drawn)

    def loss_over(self, representations: Tensor, batch: Batch, drawn: SampledNegatives | None = None) -> Tensor:
        """The loss over items with these ``representations`` [M, N, D]; the batch and the draw number items by them."""
        return self.loss_of(self._states(batch, representations), representations, batch.targets, drawn)

    @abstractmethod
    def loss_of(
        self,
        states: Tensor,
        representations: Tensor,
        targets: Tensor,
        drawn: SampledNegatives | None = None,
        division: Division | None = None,
    ) -> Tensor:
        """The loss of ``states`` [M, P, D] and their targets over items (see ``cross_modal_loss``)."""

    @property
    def can_be_divided(self) -> bool:
        """Whether several processes can divide the items of the loss among them.

        By default where it is over all items; a model says where it depends on more than states and representations.
        """
        return self.sampler is None

    def divided_loss(self, batch: Batch, read: Tensor, division: Division) -> Tensor:
        """This process's part of the loss over all items, of which it represents its own alone.

        Args:
            batch: its share of the users.
            read: [U] int64, ascending: the items in the sequences of all processes' shares.
            division: of the items.
        """
        representations = self.own_representations(division)
        histories = rows_of_all(representations, read, division)
        states = self._states(replace(batch, items=torch.searchsorted(read, batch.items)), histories)
        return self.loss_of(states, representations, batch.targets, division=division)

    def own_representations(self, division: Division) -> Tensor:
        """``item_representations`` of one process's items, [M, N, D]."""
        return self.item_representations()[:, division.items]

    @abstractmethod
    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """What items are compared with, [M, P, D]; the batch numbers items by ``representations`` [M, N, D]."""

    @abstractmethod
    def logits(self, states: Tensor, representations: Tensor) -> Tensor:
        """Of items with these ``representations`` [M, N, D], for ``states`` [M, P, D]; [R, columns]."""

    def total(self, logits: Tensor, modalities: int, before: Tensor | None) -> Tensor | None:
        """[R] what scores need of all items: from the logits of some, and ``before``, that of the items before them."""
        return None

    def scores_from(self, logits: Tensor, modalities: int, total: Tensor | None = None) -> Tensor:
        """[P, N], from ``logits``, which may be overwritten; without ``total`` they are those of all items."""
        return logits

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Scores of all items at the batch's predictions, [P, I]."""
        logits = self.logits(self._states(batch, representations), representations)
        return self.scores_from(logits, len(representations))

    def queries(self, batch: Batch) -> Tensor:
        """The states of the batch, [M, P, D], for which no items but its own are read."""
        items, places = torch.unique(batch.items, return_inverse=True)
        return self._states(replace(batch, items=places), self.representations_of(items))
