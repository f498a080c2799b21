"""SASRec (Kang and McAuley, ICDM 2018) with full cross-entropy over tied item embeddings."""

from __future__ import annotations

from decorec.config.baselines import SasrecConfig
from decorec.models.item_data import ItemData
from decorec.models.tied import TiedRecommender
from decorec.nn.transformer import SequenceEncoder

__all__ = ["SASRec"]


class SASRec(TiedRecommender):
    """Item and position embeddings, causal transformer, dot product with the item embeddings."""

    def __init__(self, config: SasrecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.encoder = SequenceEncoder(config.dim, config.encoder)
