"""HM4SR (WWW 2025), re-implemented: ids, texts and pictures, mixed by experts that read each other and the time.

As published: three streams with position embeddings, a mixture of experts over all three, a second one that scales
each stream by what the time says, an encoder of its own for each stream, and candidates that pass neither mixture.
Corrected: the temporal experts are parameters (in the released code they are never trained and never stored); the time
enters as fixed waves from a week to the whole training part, not as seconds since 1970 in float32, whose phases are
noise; the table of gaps has the rows that the training part needs, in the data's own unit (published: in seconds, over
all data). Left out: the loss that predicts categories, which our data sets do not have. All parts are causal, so one
pass gives every prediction of a sequence; the two contrasts use one random prediction of each, because two of the same
user would be negatives of each other.

Shapes: T tokens, B sequences, P predictions, D width, E experts, I items, N some of them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.contenders import Hm4srConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.tied import TiedRecommender
from decorec.nn.losses import SampledNegatives
from decorec.nn.matmul import Linear
from decorec.nn.sized import SizedByTraining
from decorec.nn.sparse import rows_of
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["HM4SR", "Clock", "gap_index"]

FEATURES = ("text", "image")
STREAMS = 1 + len(FEATURES)
WEEK = 7 * 86_400
STEPS = 100
"""Rows of the table of gaps per doubling of the gap."""
LARGEST_GAP = 2**32
"""In seconds; before the training part is known, the table has the rows of all gaps up to this one."""
EXPERT_DEVIATION = 0.1
"""Of the initial values of the temporal experts."""


def gap_index(gap: Tensor) -> Tensor:
    """Row of a gap in the table, floor(100 log2(gap + 1)); int64 of any shape, in the table's unit."""
    return (STEPS * torch.log2(gap.double() + 1)).long()


class Clock(SizedByTraining):
    """What the times of a batch say: an embedding of the gap before each item, and waves of its absolute time."""

    sized = ("gaps",)
    gaps: nn.Parameter
    """[G, D]; the model cuts it to the rows that the training part needs."""
    start: Tensor
    """Time of the first training interaction, in seconds."""
    span: Tensor
    """Seconds from there to the last one."""
    unit: Tensor
    """Seconds of which all gaps of the training part are multiples, such as those of a day."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        rows = int(gap_index(torch.tensor(LARGEST_GAP))) + 1
        self.gaps = nn.Parameter(nn.init.normal_(torch.empty(rows, dim), std=0.02))
        for name, value in (("start", 0), ("span", 0), ("unit", 1)):
            self.register_buffer(name, torch.tensor(value))

    def observe(self, training: Sequences) -> None:
        """Take origin, span, unit and the number of rows from the training part."""
        times = training.timestamps
        assert times is not None
        inside = training.offsets[(training.offsets > 0) & (training.offsets < len(times))]
        before = np.delete(np.diff(times), inside - 1)  # without those from one user to the next
        unit = max(1, int(np.gcd.reduce(before)))
        for name, value in (("start", times.min()), ("span", times.max() - times.min()), ("unit", unit)):
            getattr(self, name).fill_(int(value))
        rows = int(gap_index(torch.tensor(int(before.max(initial=0)) // unit))) + 1
        self.gaps.data = self.gaps.data[:rows].clone()

    def forward(self, batch: Batch) -> Tensor:
        """[T, 2 D]."""
        times = batch.times
        assert times is not None
        gap = torch.diff(times, prepend=times[:1]).masked_fill(batch.positions == 0, 0)
        row = gap_index(gap // self.unit).clamp(0, len(self.gaps) - 1)
        dim = self.gaps.shape[1]
        waves = -(-dim // 2)
        longest = self.span.clamp_min(WEEK).double()
        share = torch.arange(waves, device=times.device, dtype=torch.float64) / max(1, waves - 1)
        phase = (times - self.start).double()[:, None] * (2 * math.pi / WEEK * (longest / WEEK).pow(-share))
        absolute = torch.cat([phase.sin(), phase.cos()], 1)[:, :dim]
        return torch.cat([self.gaps.index_select(0, row), absolute.to(self.gaps.dtype)], 1)


class Mixtures(nn.Module):
    """Experts that read all streams, added to each stream; then experts that the time weighs, by which it is scaled."""

    def __init__(self, config: Hm4srConfig) -> None:
        super().__init__()
        dim, experts = config.dim, config.experts
        self.experts = Linear(STREAMS * dim, experts * STREAMS * dim)
        self.gates = nn.ModuleList(Linear(dim, experts) for _ in range(STREAMS))
        self.weights = nn.Parameter(torch.tensor([0.0, *(1.0 for _ in FEATURES)]))
        self.time_gate = Linear(2 * dim, experts)
        self.time_gate.apply(initialise)
        self.time_experts = nn.Parameter(torch.empty(experts, STREAMS, dim).normal_(std=EXPERT_DEVIATION))

    def forward(self, x: Tensor, clock: Tensor) -> Tensor:
        """Streams of tokens [3, T, D], and what the time says of these [T, 2 D] -> [3, T, D]."""
        streams, tokens, dim = x.shape
        read = self.experts(x.transpose(0, 1).flatten(1)).view(tokens, -1, streams, dim)
        gates = torch.stack([torch.softmax(gate(own), 1) for gate, own in zip(self.gates, x, strict=True)], 1)
        mixed = torch.einsum("tesd,tse->std", read, gates.to(read.dtype))
        x = x + self.weights[:, None, None] * mixed
        scale = torch.einsum("te,esd->std", torch.softmax(self.time_gate(clock), 1), self.time_experts)
        return x * scale


class Streams(nn.Module):
    """Positions, mixtures, and an encoder for each of the streams."""

    def __init__(self, config: Hm4srConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.positions = nn.Embedding(encoder.length, config.dim) if encoder.positions == "learned" else None
        self.apply(initialise)
        self.mixtures = Mixtures(config)
        alone = encoder.model_copy(update={"positions": "none"})
        self.encoders = nn.ModuleList(SequenceEncoder(config.dim, alone) for _ in range(STREAMS))

    def mixed(self, x: Tensor, batch: Batch, clock: Tensor) -> Tensor:
        """Ids, texts and pictures side by side [1, T, 3 D] -> inputs of the encoders [3, T, D]."""
        apart = x.view(len(batch.items), STREAMS, -1).transpose(0, 1)
        if self.positions is not None:
            apart = apart + self.positions.weight.index_select(0, batch.positions)
        mixed: Tensor = self.mixtures(apart, clock)
        return mixed

    def states(self, x: Tensor, batch: Batch, first: int = 0) -> Tensor:
        """States at the batch's predictions, [S, T, D] -> [S, P, D]; the streams from ``first`` on."""
        pairs = zip(self.encoders[first:], x, strict=True)
        return torch.cat([encoder(own[None], batch) for encoder, own in pairs])


class HM4SR(TiedRecommender):
    """Ids, texts and pictures as three streams; score: the sum of their dot products with id, text and picture."""

    config: Hm4srConfig
    encoder: Streams

    def __init__(self, config: Hm4srConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        dim = config.dim
        self.adapters = nn.ModuleDict({name: Linear(item_data.width(f"features.{name}"), dim) for name in FEATURES})
        self.adapters.apply(initialise)
        self.clock = Clock(dim)
        self.encoder = Streams(config)
        self.placeholders = nn.ModuleList(Linear(2 * dim, dim) for _ in FEATURES)

    def observe(self, training: Sequences) -> None:
        """Also take from the training part what the times are measured by."""
        super().observe(training)
        self.clock.observe(training)

    def counterparts(self, earlier: Recommender, items: Tensor) -> dict[str, tuple[int, Tensor]]:
        """Item embeddings, and embeddings of gaps: of which the earlier data may have had shorter ones alone."""
        gaps, known = torch.arange(len(self.clock.gaps)), len(dict(earlier.named_parameters())["clock.gaps"])
        return super().counterparts(earlier, items) | {"clock.gaps": (0, torch.where(gaps < known, gaps, -1))}

    def why_not_shared(self, train: StageConfig) -> str | None:
        """The contrasts compare a prediction with the others of its batch."""
        return None if not self.config.auxiliary else "with model.auxiliary above 0"

    def item_representations(self) -> Tensor:
        """Id, text and picture of all items side by side, [1, I, 3 D]."""
        adapted = [adapter(self.item_data[f"features.{name}"]) for name, adapter in self.adapters.items()]
        return torch.cat([self.items.weight, *adapted], 1)[None]

    def representations_of(self, items: Tensor) -> Tensor:
        """The same of some items, [1, N, 3 D]."""
        rows = {name: self.item_data.rows(f"features.{name}", items) for name in self.adapters}
        adapted = [adapter(rows[name]) for name, adapter in self.adapters.items()]
        return torch.cat([super().representations_of(items)[0], *adapted], 1)[None]

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """States of the three streams side by side, [1, P, 3 D]."""
        mixed = self.encoder.mixed(rows_of(representations, batch.items), batch, self.clock(batch))
        return _side_by_side(self.encoder.states(mixed, batch))

    def loss_over(self, representations: Tensor, batch: Batch, drawn: SampledNegatives | None = None) -> Tensor:
        """Cross-entropy; in training also the two contrasts."""
        clock = self.clock(batch)
        mixed = self.encoder.mixed(rows_of(representations, batch.items), batch, clock)
        states = self.encoder.states(mixed, batch)
        main = self.loss_of(_side_by_side(states), representations, batch.targets, drawn)
        if not self.training or not self.config.auxiliary:
            return main
        chosen = _one_of_each(batch)
        own, target = states[:, chosen], batch.following[chosen]
        ids = functional.normalize(representations[0, :, : self.config.dim].index_select(0, target), dim=1)
        cosines = functional.normalize(own[0], dim=1) @ ids.T
        contrast = _contrast(cosines / self.config.identity_temperature, target)
        replaced = self._replaced(mixed[1:], batch, batch.predict[chosen], clock)
        alone = replace(batch, predict=batch.predict[chosen], at_ends=batch.at_ends)
        others = self.encoder.states(replaced, alone, first=1)
        views = [_contrast(one @ other.T, target) for one, other in zip(own[1:], others, strict=True)]
        return main + self.config.auxiliary * (contrast + torch.stack(views).mean())

    def _replaced(self, x: Tensor, batch: Batch, ends: Tensor, clock: Tensor) -> Tensor:
        """Texts and pictures [2, T, D], at random tokens up to ``ends`` [B] as the time alone tells them."""
        rows = batch.rows()
        last = batch.positions[ends].index_select(0, rows)
        order = torch.rand(len(rows), device=rows.device, dtype=torch.float64)
        order = torch.argsort(rows * 2 + order.masked_fill(batch.positions > last, 1.0), stable=True)
        # The tokens of a row stand together, so the rank of a token in its row is its place less the row's first one.
        rank = torch.empty_like(rows)
        rank[order] = batch.positions
        hidden = rank < (self.config.replaced * (last + 1).double() + ROUNDING).long()
        told = torch.stack([placeholder(clock) for placeholder in self.placeholders])
        return torch.where(hidden[:, None], told.to(x.dtype), x)


ROUNDING = 1e-9
"""So that 0.3 of 10 items are 3 of them."""


def _side_by_side(states: Tensor) -> Tensor:
    """[3, P, D] -> [1, P, 3 D]."""
    return states.transpose(0, 1).flatten(1)[None]


def _one_of_each(batch: Batch) -> Tensor:
    """[B] a random prediction of each sequence, as its index among the predictions."""
    rows = batch.rows().index_select(0, batch.predict)
    # torch.bincount waits for a GPU to know the number of sequences.
    counts = rows.new_zeros(sum(len(group.lengths) for group in batch.groups))
    counts.index_add_(0, rows, torch.ones_like(rows))
    drawn = (torch.rand(len(counts), device=counts.device, dtype=torch.float64) * counts).long()
    return torch.cumsum(counts, 0) - counts + drawn


def _contrast(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row with its own column, [B, B]; columns with the same target have the logit 0."""
    same = targets[:, None] == targets
    same.fill_diagonal_(False)
    return functional.cross_entropy(logits.masked_fill(same, 0.0), torch.arange(len(logits), device=logits.device))
