"""MMMLP (Liang et al., WWW 2023) over features of a frozen encoder: mixing across slots and channels, no attention.

A history fills the first (or the last) of L slots; the others are zero embeddings that are mixed as well. Three
branches (id, text, picture) are mixed by themselves, then concatenated and projected. Candidates are the ids alone.

Shapes: P sequences, L slots, W slots that a group of sequences fills, D width, H hidden width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.batches import Batch, Group, Samples, training_windows
from decorec.config.baselines import MmmlpConfig
from decorec.config.learning import StageConfig
from decorec.losses import cross_modal_loss
from decorec.models.base import Recommender
from decorec.models.catalogue import Catalogue
from decorec.models.dropout import Dropout
from decorec.models.layers import initialise
from decorec.products import Linear
from decorec.sequences import Sequences

__all__ = ["MMMLP", "Mixer"]

SEQUENCES_AT_ONCE = 64
"""Sequences whose hidden layers are computed at a time: more of them do not stay in the cache."""
BRANCHES = ("id", "text", "image")


class Mixer(nn.Module):
    """Mixes slots (the same weights for each channel), then channels (the same for each slot); both are residual."""

    def __init__(self, dim: int, config: MmmlpConfig) -> None:
        super().__init__()
        self.length = config.length
        self.slot_norm, self.channel_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.slot_up = Linear(config.length, config.sequence_hidden)
        self.slot_down = Linear(config.sequence_hidden, config.length)
        self.channel_up, self.channel_down = Linear(dim, 4 * dim), Linear(4 * dim, dim)
        self.dropout = Dropout(config.dropout)

    def _hidden(self, x_PWD: Tensor, empty: Tensor, slots: slice) -> Tensor:
        """Hidden layer of slot mixing, [P, D, H].

        Every empty slot holds the same vector ``empty`` [D], so that all of them together cost one product.
        """
        weight = self.slot_up.weight
        others = weight.sum(1) - weight[:, slots].sum(1)
        bias = self.slot_norm(empty)[:, None] * others + self.slot_up.bias  # [D, H]
        hidden = functional.linear(self.slot_norm(x_PWD).transpose(1, 2), weight[:, slots]) + bias
        out: Tensor = self.dropout(functional.gelu(hidden))
        return out

    def _channels(self, x: Tensor) -> Tensor:
        hidden = self.dropout(functional.gelu(self.channel_up(self.channel_norm(x))))
        out: Tensor = x + self.dropout(self.channel_down(hidden))
        return out

    def forward(self, x_PLD: Tensor) -> Tensor:
        """All slots of one round, [P, L, D] -> [P, L, D]."""
        hidden = self._hidden(x_PLD, x_PLD.new_zeros(x_PLD.shape[-1]), slice(0, self.length))
        mixed = x_PLD + self.dropout(self.slot_down(hidden)).transpose(1, 2)
        return self._channels(mixed)

    def read(self, x_PWD: Tensor, empty: Tensor, slots: slice, place: Tensor) -> Tensor:
        """The same round where one slot of each sequence is all that is read.

        Args:
            x_PWD: the filled slots.
            empty: [D] what stands in each other slot.
            slots: which of the L slots are filled.
            place: [P] which of the W filled ones is read.

        Returns:
            [P, D].
        """
        slot = place + range(self.length)[slots].start
        down = self.slot_down.weight.index_select(0, slot)[..., None]
        parts = zip(torch.split(x_PWD, SEQUENCES_AT_ONCE), torch.split(down, SEQUENCES_AT_ONCE), strict=True)
        mixed = torch.cat([torch.bmm(self._hidden(x, empty, slots), weight)[..., 0] for x, weight in parts])
        mixed = self.dropout(mixed + self.slot_down.bias.index_select(0, slot)[:, None])
        return self._channels(x_PWD[torch.arange(len(place), device=place.device), place] + mixed)


class MMMLP(Recommender):
    """Branches of ids, adapted texts and adapted pictures; the id table is also the output layer."""

    config: MmmlpConfig

    def __init__(self, config: MmmlpConfig, catalogue: Catalogue, stage: str) -> None:
        super().__init__(config, catalogue, stage)
        dim = config.dim
        self.items = nn.Embedding(catalogue.item_count, dim)
        self.adapters = nn.ModuleDict(
            {name: Linear(catalogue[f"features.{name}"].shape[1], dim) for name in BRANCHES[1:]}
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in BRANCHES})
        self.mixers = nn.ModuleDict({name: Mixer(dim, config) for name in BRANCHES})
        self.fusion = Mixer(3 * dim, config) if config.fusion == "mixer" else None
        self.output_norm, self.output = nn.LayerNorm(3 * dim), Linear(3 * dim, dim)
        self.apply(initialise)

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """One row per prefix: slots are mixed in both directions."""
        return training_windows(sequences, self.config.length, "prefixes")

    def candidates(self) -> Tensor:
        """The item embeddings, [1, I, D]."""
        return self.items.weight[None]

    def _embed(self, items: Tensor) -> list[Tensor]:
        """Item, text and picture of each token, [T, D] each."""
        modal = [
            adapter(self.catalogue[f"features.{name}"].index_select(0, items))
            for name, adapter in self.adapters.items()
        ]
        return [self.items(items), *modal]

    def _group(self, embedded: list[Tensor], group: Group) -> Tensor:
        """Mixed branches side by side at the last item of each sequence of a group, [P, 3 D]."""
        config = self.config
        # One round that is read at one slot need not lay out the empty ones.
        narrow = config.rounds == 1 and self.fusion is None
        width = group.width if narrow else config.length
        place, slots = group.slots, slice(0, width)
        row = torch.div(place, group.width, rounding_mode="floor")
        last = group.lengths - 1
        if config.padding == "left":
            slots = slice(config.length - width, config.length)
            place, last = place + (width - group.lengths).index_select(0, row), torch.full_like(last, width - 1)
        place = place + row * (width - group.width)
        branches, empty = [], []
        for tokens, name in zip(embedded, BRANCHES, strict=True):
            part = tokens[group.begin : group.end]
            laid_out = part.new_zeros(len(last) * width, config.dim).index_copy(0, place, part)
            x, rest = self.norms[name](laid_out.view(len(last), width, -1)), cast(Tensor, self.norms[name].bias)
            mixer = cast(Mixer, self.mixers[name])
            for _ in range(config.rounds - 1):
                x = mixer(x)
            branches.append(mixer.read(x, rest, slots, last) if self.fusion is None else mixer(x))
            empty.append(rest)
        whole = torch.cat(branches, -1)
        return whole if self.fusion is None else self.fusion.read(whole, torch.cat(empty), slots, last)

    def _states(self, batch: Batch) -> Tensor:
        """[1, P, D]."""
        embedded = self._embed(batch.items)
        mixed = torch.cat([self._group(embedded, group) for group in batch.groups])
        # The input's normalisation of ids serves the output too, as published.
        out: Tensor = self.norms["id"](self.output(self.output_norm(mixed)))
        return out[None]

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items."""
        return cross_modal_loss(self._states(batch), self.candidates(), batch.targets, 1.0, 1.0)

    def scores(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Dot products with the item embeddings, [P, I]."""
        return self._states(batch)[0] @ candidates[0].T
