"""SASRec (Kang and McAuley, ICDM 2018) with full cross-entropy over tied item embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from decorec.config.baselines import SasrecConfig
from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import product
from decorec.nn.sparse import rows_of
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["SASRec"]


class SASRec(Recommender):
    """Item and position embeddings, causal transformer, dot product with the item embeddings."""

    supports_sampled_softmax = True
    supports_horizon = True

    def __init__(self, config: SasrecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.items = nn.Embedding(item_data.item_count, config.dim)
        self.items.apply(initialise)
        self.encoder = SequenceEncoder(config.dim, config.encoder)

    def item_representations(self) -> Tensor:
        """The item embeddings, [1, I, D]."""
        return self.items.weight[None]

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        states: Tensor = self.encoder(rows_of(representations, batch.items), batch)
        return states

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items."""
        representations = self.item_representations()
        states = self._states(batch, representations)
        return cross_modal_loss(states, representations, batch.targets, 1.0, 1.0, self.sampled_negatives())

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Dot products, [P, I]."""
        return product(self._states(batch, representations)[0], representations[0])
