"""Sampled softmax: draws items that represent all items in the loss, if there are too many for the full softmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.data.batches import Batch
from decorec.data.transfer import moved
from decorec.nn.losses import SampledNegatives

__all__ = ["Sampler", "read_items"]

EXPONENT = 0.5
"""Exponent of the popularity: between uniform draws (0), which are rarely hard negatives, and popularity itself (1)."""


class Sampler:
    """Draws items with replacement, with probability q proportional to (count in training + 1) ^ 0.5.

    An item drawn n times in S draws enters the denominator with the weight n / (S q). The logarithm of
    this weight is added to its logit (logQ), so that the expected denominator is that of all items (Bengio and Senecal
    2008, eq. 6).
    """

    def __init__(self, items: npt.NDArray[np.int32], item_count: int, draws: int, seed: int) -> None:
        weight = (np.bincount(items, minlength=item_count) + 1.0) ** EXPONENT
        self._log_expected = torch.from_numpy(np.log(draws * weight / weight.sum()))
        self._cumulated = torch.from_numpy(np.cumsum(weight / weight.sum()))
        self._draws = draws
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, device: torch.device) -> SampledNegatives:
        """One draw, the same for all predictions of a batch."""
        drawn = torch.rand(self._draws, dtype=torch.float64, generator=self.generator)
        places = torch.searchsorted(self._cumulated, drawn).clamp_(max=len(self._cumulated) - 1)
        items, counts = torch.unique(places, return_counts=True)
        log_expected = self._log_expected[items] - counts.log()
        items, log_expected = moved((items, log_expected), device)
        return SampledNegatives(items, log_expected.to(torch.float32))


def read_items(batch: Batch, drawn: SampledNegatives) -> tuple[Tensor, Batch, SampledNegatives]:
    """The items that a step with sampled negatives reads: those of its sequences, its targets and those drawn.

    Returns:
        items [N] int64, ascending; the batch and the draw with each item's place in ``items`` as its number.
    """
    there = batch.targets >= 0
    items = torch.unique(torch.cat([batch.items, batch.targets[there], drawn.items]))
    return (
        items,
        replace(
            batch,
            items=torch.searchsorted(items, batch.items),
            targets=torch.where(there, torch.searchsorted(items, batch.targets), -1),
        ),
        replace(drawn, items=torch.searchsorted(items, drawn.items)),
    )
