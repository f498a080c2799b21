"""BERT4Rec (Sun et al., CIKM 2019) with full cross-entropy: masked items are predicted from both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.baselines import Bert4recConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Samples, append, pack, shuffled
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import Linear
from decorec.nn.transformer import LAYER_NORM_EPSILON, SequenceEncoder, initialise

__all__ = ["BERT4Rec", "MaskedSequences"]


@dataclass(frozen=True)
class MaskedSequences:
    """Training samples: users' latest training items, some of them masked; each pass draws new masks."""

    items: npt.NDArray[np.int32]
    """[T], user after user."""
    size: npt.NDArray[np.int64]
    """[U] number of items of each user, at least 2."""
    token: int
    """The token in place of a masked item."""
    config: Bert4recConfig

    @classmethod
    def of(cls, training: Sequences, token: int, config: Bert4recConfig) -> MaskedSequences:
        """The latest items of every user with at least two; one item more than the length of a history."""
        lengths = training.lengths
        from_end = np.repeat(training.offsets[1:], lengths) - np.arange(len(training.items))
        keep = (from_end <= config.length + 1) & np.repeat(lengths > 1, lengths)
        return cls(training.items[keep], np.minimum(lengths[lengths > 1], config.length + 1), token, config)

    @property
    def target_count(self) -> int:
        """Expected number of predictions in one epoch, before one item is masked where none was drawn."""
        per_user = self.config.mask_last + (1 - self.config.mask_last) * self.config.mask * self.size
        return round(self.config.passes * float(per_user.sum()))

    def draw(self, generator: torch.Generator) -> npt.NDArray[np.bool_]:
        """[T] which items are masked: only the last one, or each with the same probability and at least one."""
        users, ends = len(self.size), np.cumsum(self.size)
        starts = ends - self.size
        only_last = torch.rand(users, generator=generator).numpy() < self.config.mask_last
        hidden = torch.rand(len(self.items), generator=generator).numpy() < self.config.mask
        hidden &= ~np.repeat(only_last, self.size)
        hidden[ends[only_last] - 1] = True
        none = np.add.reduceat(hidden, starts) == 0 if users else only_last
        some = (torch.rand(users, generator=generator).numpy() * self.size).astype(np.int64)
        hidden[(starts + some)[none]] = True
        return hidden

    def epoch(self, target_count: int, generator: torch.Generator) -> Iterator[Batch]:
        """Batches of all passes, with about ``target_count`` predictions each."""
        starts = np.cumsum(self.size) - self.size
        for _ in range(self.config.passes if len(self.size) else 0):
            hidden = self.draw(generator)
            for chosen in shuffled(np.add.reduceat(hidden, starts, dtype=np.int64), target_count, generator):
                chosen = chosen[np.argsort(self.size[chosen], kind="stable")]
                size = self.size[chosen]
                where = np.repeat(starts[chosen] - np.cumsum(size) + size, size) + np.arange(size.sum())
                masked = hidden[where]
                seen = np.where(masked, self.token, self.items[where])
                yield pack(seen, size, np.flatnonzero(masked), self.items[where[masked]])


class BERT4Rec(Recommender):
    """Item and position embeddings, bidirectional transformer, output layer, dot product with the items plus a bias."""

    config: Bert4recConfig

    def __init__(self, config: Bert4recConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.mask = item_data.item_count
        self.items = nn.Embedding(item_data.item_count + 1, config.dim)
        # The mask has a position of its own, after as many items as the other models use.
        self.encoder = SequenceEncoder(config.dim, config.encoder, causal=False, slots=config.length + 1)
        self.output = Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPSILON)
        self.bias = nn.Parameter(torch.zeros(item_data.item_count, 1))
        self.items.apply(initialise)
        self.output.apply(initialise)

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """Users' sequences, with new masks in every epoch."""
        return MaskedSequences.of(sequences.training(), self.mask, self.config)

    def item_representations(self) -> Tensor:
        """Item embeddings with the output bias as an additional column, [1, I, D + 1]."""
        return torch.cat([self.items.weight[: self.mask], self.bias], 1)[None]

    def id_tables(self) -> list[Tensor]:
        """The item embeddings and the output bias."""
        return [self.items.weight, self.bias]

    def _states(self, batch: Batch) -> Tensor:
        """States at the predictions of a batch in which they are masked, [1, P, D + 1]."""
        encoded = self.encoder(self.items(batch.items)[None], batch)
        states = self.norm(functional.gelu(self.output(encoded)))
        return torch.cat([states, torch.ones_like(states[..., :1])], -1)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items at the masked positions."""
        return cross_modal_loss(self._states(batch), self.item_representations(), batch.targets, 1.0, 1.0)

    def validation_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy at a mask after the last item of each sequence; at the item itself the model sees it."""
        return self.loss(append(batch, self.mask))

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Scores at a mask after the last item of each sequence, [P, I]."""
        return self._states(append(batch, self.mask))[0] @ representations[0].T
