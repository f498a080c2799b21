"""What the sequential models over ids share: one table of items for input and output, and the loss over all items."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from decorec.data.batches import Batch
from decorec.models.item_data import ItemData
from decorec.models.sampled import SampledRecommender
from decorec.nn.division import Division
from decorec.nn.losses import SampledNegatives, cross_modal_loss
from decorec.nn.matmul import product
from decorec.nn.sparse import rows_of, table_rows
from decorec.nn.transformer import initialise

__all__ = ["TiedRecommender"]


class TiedRecommender(SampledRecommender):
    """Item embeddings, a causal encoder of the sequence, dot product with the item embeddings.

    A model sets ``encoder``, a module from the inputs [1, T, D] and the batch to the states of its predictions
    [1, P, D].
    """

    supports_horizon = True
    encoder: nn.Module

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.items = nn.Embedding(item_data.item_count, config.dim)
        self.items.apply(initialise)

    def item_representations(self) -> Tensor:
        """The item embeddings, [1, I, D]."""
        return self.items.weight[None]

    def representations_of(self, items: Tensor) -> Tensor:
        """The embeddings of some items, [1, N, D]."""
        return table_rows(self.items.weight, items)[None]

    def id_tables(self) -> list[Tensor]:
        """The item embeddings."""
        return [self.items.weight]

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """What the items' representations are multiplied with, [1, P, D]."""
        states: Tensor = self.encoder(rows_of(representations, batch.items), batch)
        return states

    def loss_of(
        self,
        states: Tensor,
        representations: Tensor,
        targets: Tensor,
        drawn: SampledNegatives | None = None,
        division: Division | None = None,
    ) -> Tensor:
        """Cross-entropy."""
        return cross_modal_loss(states, representations, targets, 1.0, 1.0, drawn, division)

    def logits(self, states: Tensor, representations: Tensor) -> Tensor:
        """Dot products, which are the scores, [P, N]."""
        return product(states[0], representations[0])
