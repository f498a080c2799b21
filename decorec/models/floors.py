"""Floors: rules and closed forms without training, which every trained model should beat.

Shapes: I items, D width of the features of all modalities, P predictions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.matmul import product

__all__ = ["Floor", "content_scores", "item_features", "side_by_side"]

SHRINKAGE = 0.1
"""Share of the mean variance that is added to that of each direction in whitening; the smallest are mostly noise."""


class Floor(Recommender):
    """A recommender without parameters."""

    def loss(self, batch: Batch) -> Tensor:
        """A floor has no loss."""
        raise TypeError(f"{type(self).__name__} has nothing to train")


def item_features(item_data: ItemData, form: Literal["raw", "centred", "whitened"]) -> Tensor:
    """Text and picture side by side, [I, D]: the product of two rows is the mean of their cosines.

    An item without a modality has zeros there. ``form``: as in the section of content-knn.
    """
    return side_by_side([item_data["features.text"], item_data["features.image"]], form)


def side_by_side(features: Sequence[Tensor], form: Literal["raw", "centred", "whitened"]) -> Tensor:
    """The same of the features of some modalities, [I, F] each."""
    return torch.cat([_formed(x, form) for x in features], 1) / math.sqrt(len(features))


def _formed(x: Tensor, form: str) -> Tensor:
    """Rows of length 1, [I, F]; rows of zeros stay zero."""
    rows = functional.normalize(x.double(), dim=1)
    there = rows.any(1)
    if form != "raw" and there.any():
        known = rows[there] - rows[there].mean(0)
        if form == "whitened":
            variances, directions = torch.linalg.eigh(known.T @ known / len(known))
            scale = (variances.clamp_min(0) + SHRINKAGE * variances.mean()).rsqrt()
            known = known @ directions * scale
        rows[there] = functional.normalize(known, dim=1)
    return rows.float()


def content_scores(history: Tensor, features: Tensor) -> Tensor:
    """Cosines to the items of each history, summed with their weights, [P, I]; no item scores itself.

    Args:
        history: [I, P] weights.
        features: [I, D] as from ``item_features``.
    """
    users = history.T
    return product(users @ features, features) - users * features.square().sum(1)
