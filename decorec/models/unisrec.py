"""UniSRec (Hou et al., KDD 2022) from scratch, transductive: adapted texts and ids, causal transformer, cosine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.baselines import UnisrecConfig
from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.dropout import dropout
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import Linear
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["UniSRec"]

LEAST_NOISE = 0.01


class Adaptor(nn.Module):
    """Mixture of experts over parametric whitening: sum over e of g_e(x) W_e (dropout(x) - b_e).

    The gate g starts uniform; in training its logits carry noise whose strength is learned. All experts are used.
    """

    def __init__(self, width: int, config: UnisrecConfig) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Linear(width, config.dim, bias=False) for _ in range(config.experts))
        self.experts.apply(initialise)
        self.shift = nn.Parameter(torch.zeros(config.experts, width))
        self.gate = nn.Parameter(torch.zeros(width, config.experts))
        self.noise = nn.Parameter(torch.zeros(width, config.experts))
        self.dropout = config.adaptor_dropout

    def gates(self, x: Tensor) -> Tensor:
        """Weights of the experts, [N, F] -> [N, experts]."""
        logits = x @ self.gate
        if self.training:
            logits = logits + torch.randn_like(logits) * (functional.softplus(x @ self.noise) + LEAST_NOISE)
        return torch.softmax(logits, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, D]."""
        weights = self.gates(x).unbind(1)
        total = x.new_zeros(())
        for expert, shift, weight in zip(self.experts, self.shift, weights, strict=True):
            # W (x - b) as W x - W b: features are constant, so no gradient is needed through the large product.
            white = expert(dropout(x, self.dropout, self.training)) - expert(shift[None])
            total = total + weight[:, None] * white
        return total


class UniSRec(Recommender):
    """Items are adapted texts plus ids; the adaptor runs separately for sequences and items, as published."""

    supports_horizon = True
    config: UnisrecConfig

    def __init__(self, config: UnisrecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.adaptor = Adaptor(item_data["features.text"].shape[1], config)
        self.ids = nn.Embedding(item_data.item_count, config.dim) if config.ids else None
        self.encoder = SequenceEncoder(config.dim, config.encoder)
        if self.ids is not None:
            self.ids.apply(initialise)

    def _represent(self, items: Tensor | None) -> Tensor:
        """Representations of some items or of all, [N, D]."""
        text = self.item_data["features.text"]
        adapted: Tensor = self.adaptor(text if items is None else text.index_select(0, items))
        if self.ids is None:
            return adapted
        return adapted + (self.ids.weight if items is None else self.ids(items))

    def item_representations(self) -> Tensor:
        """Unit vectors of all items, [1, I, D]."""
        return functional.normalize(self._represent(None), dim=-1)[None]

    def id_tables(self) -> list[Tensor]:
        """The ids, if the model has them."""
        return [] if self.ids is None else [self.ids.weight]

    def _states(self, batch: Batch) -> Tensor:
        """Unit vectors of the predictions, [1, P, D]."""
        return functional.normalize(self.encoder(self._represent(batch.items)[None], batch), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items of cosine / temperature."""
        return cross_modal_loss(
            self._states(batch), self.item_representations(), batch.targets, self.config.temperature, 1.0
        )

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Cosines, [P, I]."""
        return self._states(batch)[0] @ representations[0].T

    def log_shares(self, scores: Tensor) -> Tensor:
        """The logits of the loss are the cosines over the temperature."""
        return super().log_shares(scores / self.config.temperature)
