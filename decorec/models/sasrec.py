"""SASRec (Kang and McAuley, ICDM 2018) with full cross-entropy over tied item embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from decorec.data.batches import Batch
from decorec.config.baselines import SasrecConfig
from decorec.nn.losses import cross_modal_loss
from decorec.models.base import Recommender
from decorec.models.item_data import Catalogue
from decorec.nn.sparse import rows_of
from decorec.nn.transformer import SequenceEncoder, initialise
from decorec.nn.matmul import product

__all__ = ["SASRec"]


class SASRec(Recommender):
    """Item and position embeddings, causal transformer, dot product with the item embeddings."""

    samples_candidates = True
    looks_ahead = True

    def __init__(self, config: SasrecConfig, catalogue: Catalogue, stage: str) -> None:
        super().__init__(config, catalogue, stage)
        self.items = nn.Embedding(catalogue.item_count, config.dim)
        self.items.apply(initialise)
        self.encoder = SequenceEncoder(config.dim, config.encoder)

    def candidates(self) -> Tensor:
        """The item embeddings, [1, I, D]."""
        return self.items.weight[None]

    def _states(self, batch: Batch, candidates: Tensor) -> Tensor:
        states: Tensor = self.encoder(rows_of(candidates, batch.items), batch)
        return states

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items."""
        candidates = self.candidates()
        states = self._states(batch, candidates)
        return cross_modal_loss(states, candidates, batch.targets, 1.0, 1.0, self.drawn_candidates())

    def scores(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Dot products, [P, I]."""
        return product(self._states(batch, candidates)[0], candidates[0])
