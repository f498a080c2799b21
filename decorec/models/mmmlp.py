"""MMMLP (Liang et al., WWW 2023) over features of a frozen encoder: mixing across slots and channels, no attention.

A history fills the first (or the last) of L slots; the others are zero embeddings, which are mixed as well. Three
branches (id, text, picture) are mixed separately, then concatenated and projected. Items are represented by ids only.

Shapes: P sequences, L slots, W slots that a group of sequences fills, D width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from decorec.config.baselines import MmmlpConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Group, Samples, training_windows
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.dropout import Dropout, draw
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import Linear
from decorec.nn.transformer import initialise

__all__ = ["MMMLP", "Mixer"]

HIDDEN_AT_ONCE = 1 << 18
"""Elements of hidden layers computed at a time on the CPU (1 MB in float32); more would not stay in the cache."""
gelu, gelu_backward = torch.ops.aten.gelu, torch.ops.aten.gelu_backward.grad_input
BRANCHES = ("id", "text", "image")


class _ReadHidden(Function):
    """Slot mixing with output at one slot: out = dropout(gelu(x weight^T)) down, for some sequences at a time.

    The hidden layer is 200 times as large as input or output. Backward computes it again, in the same small pieces and
    in the same memory, so that only the mask of dropped elements is kept.

    Shapes: x [P, D, W], weight [H, W], down [P, H], out [P, D].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, rate: float) -> Tensor:
        hidden, mask = _ReadHidden.scratch(x, weight), _ReadHidden.scratch(x, weight)
        out, kept, factor = x.new_empty(x.shape[:2]), None, 1.0
        if rate:
            kept, factor = draw(torch.Size((*x.shape[:2], len(weight))), rate, x.device)
        with torch.autocast(x.device.type, enabled=False):  # operations with out= do not support autocast
            for part in _ReadHidden.parts(x, hidden):
                h, m = hidden[: len(x[part])], mask[: len(x[part])]
                _ReadHidden.fill(h, x[part], weight)
                gelu(h, out=h)
                if kept is not None:
                    h.mul_(m.copy_(kept[part]))
                torch.bmm(h, down[part, :, None], out=out[part, :, None])
        ctx.save_for_backward(x, weight, down, kept)
        ctx.factor = factor
        return out.mul_(factor)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, down, kept = ctx.saved_tensors
        before, hidden, mask = (_ReadHidden.scratch(x, weight) for _ in range(3))
        for_x, for_weight, for_down = (torch.zeros_like(tensor) for tensor in (x, weight, down))
        grad_out = grad_out * ctx.factor
        for part in _ReadHidden.parts(x, before):
            a, h, m = (tensor[: len(x[part])] for tensor in (before, hidden, mask))
            _ReadHidden.fill(a, x[part], weight)
            gelu(a, out=h)
            if kept is not None:
                h.mul_(m.copy_(kept[part]))
            torch.bmm(grad_out[part, None], h, out=for_down[part, None])
            torch.mul(grad_out[part, :, None], down[part, None], out=h)
            if kept is not None:
                h.mul_(m)
            gelu_backward(h, a, grad_input=h)
            for_weight.addmm_(h.flatten(0, 1).T, x[part].flatten(0, 1))
            torch.mm(h.flatten(0, 1), weight, out=for_x[part].flatten(0, 1))
        return for_x, for_weight, for_down, None

    @staticmethod
    def scratch(x: Tensor, weight: Tensor) -> Tensor:
        """Memory for the hidden layer of the sequences that are computed at a time."""
        size = x.shape[1] * len(weight)
        count = len(x) if x.device.type != "cpu" else max(1, HIDDEN_AT_ONCE // size)
        return x.new_empty(min(count, len(x)), x.shape[1], len(weight))

    @staticmethod
    def parts(x: Tensor, scratch: Tensor) -> Iterator[slice]:
        """Slices of the sequences that fit into ``scratch``."""
        return (slice(begin, begin + len(scratch)) for begin in range(0, len(x), max(1, len(scratch))))

    @staticmethod
    def fill(out: Tensor, x: Tensor, weight: Tensor) -> None:
        """The hidden layer before its activation, [P, D, H]."""
        torch.mm(x.flatten(0, 1), weight.T, out=out.flatten(0, 1))


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

    def _channels(self, x: Tensor) -> Tensor:
        hidden = self.dropout(functional.gelu(self.channel_up(self.channel_norm(x))))
        out: Tensor = x + self.dropout(self.channel_down(hidden))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """All slots of one round, [P, L, D] -> [P, L, D]."""
        across = self.slot_norm(x).transpose(1, 2)
        hidden = self.dropout(functional.gelu(self.slot_up(across)))
        return self._channels(x + self.dropout(self.slot_down(hidden)).transpose(1, 2))

    def read(self, x: Tensor, empty: Tensor, slots: slice, place: Tensor) -> Tensor:
        """The same round, with output at one slot of each sequence only.

        Args:
            x: the filled slots.
            empty: [D] content of each other slot.
            slots: which of the L slots are filled.
            place: [P] which of the W filled slots gives the output.

        Returns:
            [P, D].
        """
        weight, slot = self.slot_up.weight, place + range(self.length)[slots].start
        normed = self.slot_norm(x).to(weight.dtype)
        # Every empty slot holds the same vector, so that all of them are one more slot; the bias is another, of ones.
        rest, ones = self.slot_norm(empty).to(weight.dtype), torch.ones_like(empty, dtype=weight.dtype)
        filled = torch.cat([normed, torch.stack([rest, ones]).expand(len(x), -1, -1)], 1)
        others = weight.sum(1) - weight[:, slots].sum(1)
        up = torch.cat([weight[:, slots], others[:, None], self.slot_up.bias[:, None]], 1)
        down = self.slot_down.weight.index_select(0, slot)
        rate = self.dropout.p if self.training else 0.0
        mixed = _ReadHidden.apply(filled.transpose(1, 2).contiguous(), up, down, rate)
        mixed = self.dropout(mixed + self.slot_down.bias.index_select(0, slot)[:, None])
        return self._channels(x[torch.arange(len(place), device=place.device), place] + mixed)


class MMMLP(Recommender):
    """Branches of ids, adapted texts and adapted pictures; the id table is also the output layer."""

    supports_horizon = True
    config: MmmlpConfig

    def __init__(self, config: MmmlpConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        dim = config.dim
        self.items = nn.Embedding(item_data.item_count, dim)
        self.adapters = nn.ModuleDict(
            {name: Linear(item_data[f"features.{name}"].shape[1], dim) for name in BRANCHES[1:]}
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in BRANCHES})
        self.mixers = nn.ModuleDict({name: Mixer(dim, config) for name in BRANCHES})
        self.fusion = Mixer(3 * dim, config) if config.fusion == "mixer" else None
        self.output_norm, self.output = nn.LayerNorm(3 * dim), Linear(3 * dim, dim)
        self.apply(initialise)

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """One row per prefix: slots are mixed in both directions."""
        return training_windows(sequences, self.config.length, "prefixes", train.horizon)

    def item_representations(self) -> Tensor:
        """The item embeddings, [1, I, D]."""
        return self.items.weight[None]

    def id_tables(self) -> list[Tensor]:
        """The item embeddings."""
        return [self.items.weight]

    def _embed(self, items: Tensor) -> list[Tensor]:
        """Item, text and picture of each token, [T, D] each."""
        features = [self.item_data[f"features.{name}"] for name in self.adapters]
        pairs = list(zip(self.adapters.values(), features, strict=True))
        if items.device.type != "cpu":  # how many are distinct would have to be waited for
            return [self.items(items), *(adapter(x.index_select(0, items)) for adapter, x in pairs)]
        # Every prefix of a history is a row of its own, so that a batch has most of its items many times.
        distinct, rows = torch.unique(items, return_inverse=True)
        modal = [adapter(x.index_select(0, distinct)).index_select(0, rows) for adapter, x in pairs]
        return [self.items(items), *modal]

    def _group(self, embedded: list[Tensor], group: Group) -> Tensor:
        """Mixed branches side by side at the last item of each sequence of a group, [P, 3 D]."""
        config = self.config
        # A round with output at one slot does not need the empty slots in memory.
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
        # The normalisation of the input ids is also used for the output, as published.
        out: Tensor = self.norms["id"](self.output(self.output_norm(mixed)))
        return out[None]

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items."""
        return cross_modal_loss(self._states(batch), self.item_representations(), batch.targets, 1.0, 1.0)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Dot products with the item embeddings, [P, I]."""
        return self._states(batch)[0] @ representations[0].T
