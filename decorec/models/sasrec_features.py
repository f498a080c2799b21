"""SASRec with features of text and picture added to the ids, with full cross-entropy.

With ``fusion: concat`` and ``sides: history`` as RecBole's SASRecF, which knows fields of categories alone; here the
features are vectors of a frozen encoder, and normalisation and positions are those of this project's SASRec. With
``fusion: sum`` and ``sides: both`` the plain way to use such features: the same vector of an item in history and
candidates.

Shapes: I items, N some of them, T tokens, P predictions, D width, F width of the features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.contenders import SasrecFeaturesConfig
from decorec.data.batches import Batch
from decorec.models.item_data import ItemData
from decorec.models.tied import TiedRecommender
from decorec.nn.matmul import Linear
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["SASRecFeatures"]

FEATURES = ("text", "image")


class SASRecFeatures(TiedRecommender):
    """Ids, texts and pictures as one vector per item, causal transformer, dot product with items or with ids alone.

    sum: e = E + W_t t + W_v v + b; concat: e = W_c [E; W_t t; W_v v] + b. An item without a picture has v = 0.
    """

    config: SasrecFeaturesConfig

    def __init__(self, config: SasrecFeaturesConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.encoder = SequenceEncoder(config.dim, config.encoder)
        self.adapters = nn.ModuleDict(
            {name: Linear(item_data.width(f"features.{name}"), config.dim, bias=False) for name in FEATURES}
        )
        self.adapters.apply(initialise)
        if config.fusion == "concat":
            self.fusion = Linear(3 * config.dim, config.dim)
            self.fusion.apply(initialise)
        else:
            self.bias = nn.Parameter(torch.zeros(config.dim))

    def _represent(self, ids: Tensor, items: Tensor | None) -> Tensor:
        """Id, text and picture of some items or of all, in one vector each, [1, N, D]; ``ids`` [N, D] of these."""
        parts = [ids]
        for name, adapter in self.adapters.items():
            key = f"features.{name}"
            x = self.item_data[key] if items is None else self.item_data.rows(key, items)
            parts.append(adapter(functional.normalize(x, dim=1) if self.config.feature_norm == "unit" else x))
        whole: Tensor = self.fusion(torch.cat(parts, 1)) if self.config.fusion == "concat" else sum(parts, self.bias)
        return whole[None]

    @property
    def can_be_divided(self) -> bool:
        """Not with the history's own vectors of an item: the exchange is of those that states are compared with."""
        return super().can_be_divided and self.config.sides == "both"

    def item_representations(self) -> Tensor:
        """What a state is multiplied with, [1, I, D]: all of the items, or their ids alone."""
        ids = super().item_representations()
        return self._represent(ids[0], None) if self.config.sides == "both" else ids

    def representations_of(self, items: Tensor) -> Tensor:
        """The same of some items, [1, N, D]."""
        ids = super().representations_of(items)
        return self._represent(ids[0], items) if self.config.sides == "both" else ids

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items, or over sampled ones."""
        if self.config.sides == "both":
            return super().loss(batch)
        # The two sides have different vectors of an item, which one list of the items that are read cannot hold.
        return self.loss_over(self.item_representations(), batch, self.sampled_negatives())

    def queries(self, batch: Batch) -> Tensor:
        """[1, P, D]; the ids of all items are in memory anyway."""
        return super().queries(batch) if self.config.sides == "both" else self._states(batch, self.items.weight[None])

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """[1, P, D]."""
        if self.config.sides == "both":
            return super()._states(batch, representations)
        states: Tensor = self.encoder(self._represent(self.items(batch.items), batch.items), batch)
        return states
