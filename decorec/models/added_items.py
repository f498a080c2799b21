"""New items beside a trained model: they are ranked among the known ones, without training.

The model goes on to score the known items I, and the order of these among each other does not change. A new item n gets
its place from what the model thinks of the known items that are like it, and from how like the history it is itself:

    z(n) = sum over its nearest known items j of a_nj z(j) + z_content(n) + offset

z: the model's scores with mean 0 and deviation 1 over the known items, for each prediction. a_nj: cosines of text and
picture, with sum 1. z_content: content-kNN's score of the new item, on the scale of its scores of the known items. The
offset is the only number that is fitted (``decorec.recommend.new_items``): without it a mean over several items would
be first too rarely.

In a history, a new item stands for its nearest known item where the model reads it, and for itself in z_content.

Shapes: I known items, N new ones, K nearest, D width of the features of all modalities, P predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.models.floors import content_scores
from decorec.models.item_data import ItemData
from decorec.nn.sparse import weighted_histories

__all__ = ["AddedItems", "WithAddedItems", "nearest_items", "trained_model"]

NEIGHBOURS = 5
"""Known items that a new one is compared with. Chosen, with CONTENT, on validation items of Scientific that were held
out of training: see docs/reference/tables.md#newitemscsv."""
CONTENT = 1.0
"""Weight of z_content."""
DECAY = 0.5
"""How fast older items of a history count less in z_content, as for content-kNN."""


class AddedItems(nn.Module):
    """What is known of the new items, as buffers: part of a checkpoint."""

    features: Tensor
    """[I + N, D]: text and picture of all items, side by side; rows of length 1 or less, as of ``item_features``."""
    neighbours: Tensor
    """[N, K] int64: known items, the nearest first."""
    shares: Tensor
    """[N, K]: how much each of them counts; rows with sum 1."""
    offset: Tensor
    """[]: see the head of the file."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in ("features", "neighbours", "shares", "offset"):
            self.register_buffer(name, tensors[name])

    @classmethod
    def of(cls, features: Tensor, known: int) -> AddedItems:
        """For the items behind the first ``known`` rows of ``features`` [I + N, D]; the offset is 0."""
        neighbours, shares = nearest_items(features[known:], features[:known])
        return cls({"features": features, "neighbours": neighbours, "shares": shares, "offset": torch.zeros(())})

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return dict(self.named_buffers())


def nearest_items(new: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The known items [N, K] that are most like each new one, and how much each counts [N, K].

    By the inner products of the rows of ``new`` [N, D] and ``known`` [I, D]. Items that are not like it at all count
    next to nothing; without any that is, all of the K count alike.
    """
    alike, neighbours = (new @ known.T).topk(min(NEIGHBOURS, len(known)), 1)
    return neighbours, functional.normalize(alike.clamp_min(1e-6), p=1, dim=1)


class WithAddedItems(Recommender):
    """A trained model that also ranks new items."""

    def __init__(self, model: Recommender, added: AddedItems) -> None:
        super().__init__(model.config, ItemData(len(added.features), {}), model.stage)
        self.model, self.added = model, added
        self.known = model.item_data.item_count

    @property
    def needs_times(self) -> bool:
        """As the model."""
        return self.model.needs_times

    def item_representations(self) -> Tensor:
        """The model's, [M, I, D], and behind them those of the new items: means of their nearest known items.

        Where they are no vectors but counts or coefficients, they stay as they are.
        """
        known = self.model.item_representations()
        if next(self.model.parameters(), None) is None:
            return known
        return torch.cat([known, self._means(known.transpose(1, 2)).transpose(1, 2)], 1)

    def loss(self, batch: Batch) -> Tensor:
        """New items are added without training."""
        raise TypeError("a model with added items is not trained; train with the new items instead")

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """[P, I + N], as where the history is masked."""
        return self.ranking(batch, representations)["masked"]

    def ranking(self, batch: Batch, representations: Tensor) -> dict[History, Tensor]:
        """[P, I + N] each: logarithms of shares of the known items, up to a constant per prediction, and the new items
        on the same scale."""
        known = self._ranking(replace(batch, items=self.stand_ins()[batch.items]), representations[:, : self.known])
        content = _standardised(self._content(batch), self.known)[0][:, self.known :]
        found: dict[History, Tensor] = {}
        for history in HISTORIES:
            if history == "masked" and known["masked"] is known["kept"]:
                found["masked"] = found["kept"]
                continue
            z, mean, deviation = _standardised(known[history], self.known)
            new = self._means(z) + CONTENT * content + self.added.offset
            found[history] = torch.cat([known[history], mean + deviation * new], 1)
        return found

    def stand_ins(self) -> Tensor:
        """[I + N] int64: the known item that the model reads for each item of a history."""
        there = torch.arange(self.known, device=self.added.neighbours.device)
        return torch.cat([there, self.added.neighbours[:, 0]])

    def _ranking(self, batch: Batch, representations: Tensor) -> dict[History, Tensor]:
        """Logarithms of the model's shares of the known items, with experts those of the product, [P, I]."""
        if self.model.experts is not None:
            return self.model.ranking(batch, representations)
        return dict.fromkeys(HISTORIES, self.model.log_shares(self.model.scores(batch, representations)))

    def _content(self, batch: Batch) -> Tensor:
        """Content-kNN's scores, [P, I + N]."""
        history = weighted_histories(batch, len(self.added.features), DECAY)
        return content_scores(history, self.added.features)

    def _means(self, values: Tensor) -> Tensor:
        """Of values of the known items [..., I]: those of the nearest ones of each new item, averaged, [..., N]."""
        near = values[..., self.added.neighbours.flatten()]
        found: Tensor = (near.view(*values.shape[:-1], *self.added.shares.shape) * self.added.shares).sum(-1)
        return found


def trained_model(model: Recommender) -> Recommender:
    """The model without the items that were added to it."""
    return model.model if isinstance(model, WithAddedItems) else model


def _standardised(scores: Tensor, known: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each row with mean 0 and deviation 1 over the first ``known`` columns, and both, [P, 1]; constant rows: 0."""
    first = scores[:, :known]
    mean = first.mean(1, keepdim=True)
    deviation = (first - mean).square().mean(1, keepdim=True).sqrt()
    return (scores - mean) / torch.where(deviation > 0, deviation, 1.0), mean, deviation
