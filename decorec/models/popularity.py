"""Popularity: the same items for every user."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.floors import Floor
from decorec.models.item_data import ItemData

__all__ = ["Popularity"]


class Popularity(Floor):
    """Score: the item's number of training interactions."""

    counts: Tensor

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.register_buffer("counts", torch.zeros(item_data.item_count))

    def observe(self, training: Sequences) -> None:
        """Count the interactions."""
        super().observe(training)
        self.counts.copy_(torch.from_numpy(training.counts(self.item_data.item_count)))

    def item_representations(self) -> Tensor:
        """Counts, [1, I, 1]."""
        return self.counts[None, :, None]

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """The counts for everyone, [P, I]."""
        return representations[0, :, 0].expand(len(batch.predict), -1)
