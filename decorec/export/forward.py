"""The models once more, as other programs compute them: padded histories in, scores or query vectors out.

The models themselves read packed sequences, which no exporter of torch takes. What is written here is compared with
them before anything is exported (``decorec.export.parity``).

Shapes: M modalities, I items, D width, B histories, L positions, H heads.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.decorec import DecorecConfig
from decorec.errors import DecorecError
from decorec.models.added_items import WithAddedItems
from decorec.models.base import Recommender
from decorec.models.closed_form import ClosedForm
from decorec.models.decorec import DeCoRec
from decorec.models.experts import ProductOfExperts
from decorec.models.sasrec import SASRec
from decorec.models.sasrec_features import SASRecFeatures
from decorec.nn.transformer import Block, SequenceEncoder
from decorec.recommend.trained import TrainedRun

__all__ = ["PlainModel", "Vectors", "plain"]

MOST_ITEMS = 20_000
"""For experts, whose matrices over all pairs of items are part of the file."""


class Vectors(NamedTuple):
    """What an index over vectors needs."""

    items: Tensor
    """[I, W]."""
    exact: bool
    """Whether the inner product with a query is the model's score; if not, it is near to it."""


class PlainModel(nn.Module):
    """Scores of all items after padded histories, and the query vectors of these.

    Histories are left-aligned: ``items`` [B, L] int64, anything behind the end; ``lengths`` [B] int64, 1 to L.
    """

    representations: Tensor

    def __init__(self, encoder: SequenceEncoder, representations: Tensor) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)  # the model stays where it is
        self.register_buffer("representations", representations)

    def states(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The state after each history, [M, B, D]."""
        modalities, _, dim = self.representations.shape
        real = torch.arange(items.shape[1], device=items.device) < lengths[:, None]  # [B, L]
        places = torch.where(real, items, 0)
        x = self.representations.index_select(1, places.flatten()).view(modalities, *items.shape, dim)
        if self.encoder.positions is not None:
            x = x + self.encoder.positions.weight[: items.shape[1]]
        x = self.encoder.norm(x)
        for block in self.encoder.blocks:
            assert isinstance(block, Block)
            x = _block(block, x, real)
        last = (lengths - 1)[None, :, None, None].expand(modalities, -1, 1, dim)
        return x.gather(2, last)[:, :, 0]

    def queries(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Query vectors, [B, W]."""
        return self.states(items, lengths)[0]

    def vectors(self) -> Vectors:
        """Vectors of all items."""
        return Vectors(self.representations[0], exact=True)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Scores, [B, I]."""
        return self.states(items, lengths)[0] @ self.representations[0].T

    def log_shares(self, scores: Tensor) -> Tensor:
        """See ``Recommender.log_shares``."""
        return torch.log_softmax(scores, 1)


class _PlainDecorec(PlainModel):
    """Eq. 9 and 11 to 18."""

    def __init__(self, encoder: SequenceEncoder, representations: Tensor, config: DecorecConfig) -> None:
        super().__init__(encoder, representations)
        self.config = config
        compared = functional.normalize(representations, dim=-1) if config.similarity == "cosine" else representations
        self.register_buffer("compared", compared)
        modalities = len(representations)
        alpha = config.alpha if config.cross else 0.0
        self.weights = [[1.0 if own == other else alpha for other in range(modalities)] for own in range(modalities)]

    compared: Tensor

    def _scaled(self, items: Tensor, lengths: Tensor) -> Tensor:
        states = self.states(items, lengths)
        if self.config.similarity == "cosine":
            states = functional.normalize(states, dim=-1)
        return states / self.config.temperature

    def queries(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The states in all modalities side by side, [B, M * D]."""
        return self._scaled(items, lengths).transpose(0, 1).flatten(1)

    def vectors(self) -> Vectors:
        """The product with a query is the weighted sum of the logits of all pairs of modalities."""
        mixed = torch.tensor(self.weights) @ self.compared.flatten(1)
        parts = mixed.view(self.compared.shape).transpose(0, 1).flatten(1)
        return Vectors(parts, exact=self.config.scoring == "logits")

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Scores, [B, I]."""
        logits = self._scaled(items, lengths)[:, None] @ self.compared.transpose(1, 2)[None]  # [own, other, B, I]
        if self.config.scoring == "exponentials":
            shares = torch.exp(logits - logits.amax((0, 1, 3), keepdim=True))
        elif self.config.scoring == "softmax":
            among = (1, 3) if self.config.cross else (3,)
            shares = torch.exp(logits - logits.amax(among, keepdim=True))
            shares = shares / shares.sum(among, keepdim=True)
        else:
            shares = logits
        parts = [w * shares[own, other] for own, row in enumerate(self.weights) for other, w in enumerate(row) if w]
        return torch.stack(parts).sum(0)

    def log_shares(self, scores: Tensor) -> Tensor:
        """See ``DeCoRec.log_shares``."""
        if self.config.scoring == "logits":
            return super().log_shares(scores)
        return (scores / scores.sum(1, keepdim=True)).clamp_min(torch.finfo(scores.dtype).tiny).log()


class _PlainExperts(PlainModel):
    """The product of a model and its experts, where the items of the history are no candidates."""

    def __init__(self, inner: PlainModel, experts: ProductOfExperts) -> None:
        nn.Module.__init__(self)
        self.inner, self.config = inner, experts.config
        self.decay = 0.0
        if experts.floor is not None:
            assert isinstance(experts.floor, ClosedForm)
            self.decay = float(experts.floor.config.decay)
            self.register_buffer("coefficients", _dense(experts.floor))
        if experts.graph is not None:
            graph = experts.graph
            shape = (len(graph.crow) - 1,) * 2
            rows = torch.sparse_csr_tensor(graph.crow, graph.col, graph.values, shape, check_invariants=True)
            self.register_buffer("graph", rows.to_dense())

    coefficients: Tensor
    graph: Tensor

    def queries(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Those of the model without its experts."""
        return self.inner.queries(items, lengths)

    def vectors(self) -> Vectors:
        """Those of the model without its experts."""
        return Vectors(self.inner.vectors().items, exact=False)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Logarithms of the product up to a constant, [B, I]."""
        logs = self.inner.log_shares(self.inner(items, lengths))
        if self.config.floor is not None:
            found = self._history(items, lengths, self.decay) @ self.coefficients
            apart = found - found.mean(1, keepdim=True)
            deviation = apart.square().mean(1, keepdim=True).sqrt()
            logs = logs + self.config.weight * apart / torch.where(deviation > 0, deviation, 1.0)
        if self.config.neighbourhood:
            near = self._history(items, lengths, 1.0) @ self.graph
            total = near.sum(1, keepdim=True).clamp_min(torch.finfo(near.dtype).tiny)
            logs = logs + torch.log1p(self.config.neighbourhood * near / total * (near > 0).sum(1, keepdim=True))
        return logs

    def _history(self, items: Tensor, lengths: Tensor, decay: float) -> Tensor:
        """See ``weighted_histories``, [B, I]."""
        distance = lengths[:, None] - torch.arange(items.shape[1], device=items.device)
        real = distance > 0
        weights = torch.where(real, distance.clamp_min(1).float() ** -decay, 0.0)
        empty = weights.new_zeros(items.shape[0], self.inner.representations.shape[1])
        history = empty.scatter_add(1, torch.where(real, items, 0), weights)
        return history if decay else history.clamp_max(1)


def _block(block: Block, x: Tensor, real: Tensor) -> Tensor:
    """A transformer layer on padded sequences, [M, B, L, D]; ``real`` [B, L]."""
    attention, (modalities, batch, length, dim) = block.attention, x.shape
    parts = _linear(attention.qkv, x).view(modalities, batch, length, 3, attention.heads, dim // attention.heads)
    q, k, v = parts.permute(3, 0, 1, 4, 2, 5).unbind()
    logits = q @ k.transpose(-1, -2) * (dim // attention.heads) ** -0.5
    allowed = real[None, :, None, None, :]
    if attention.causal:
        order = torch.arange(length, device=x.device)
        allowed = allowed & (order[:, None] >= order)
    # Not minus infinity: rows behind the end may have no allowed position, and are not read.
    read = torch.softmax(torch.where(allowed, logits, -1e30), -1) @ v
    attended = _linear(attention.out, read.transpose(2, 3).reshape(modalities, batch, length, dim))
    x = block.attention_norm(x + attended)
    out: Tensor = block.output_norm(x + _linear(block.down, functional.gelu(_linear(block.up, x))))
    return out


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """torch's own product: those of ``decorec.nn.matmul`` cannot be exported."""
    return functional.linear(x, layer.weight, layer.bias)


def _dense(floor: ClosedForm) -> Tensor:
    """The coefficients of a closed form, [I, I]."""
    if floor.sources is None:
        return floor.weights
    known = floor.sources >= 0
    to = torch.arange(len(floor.weights), device=known.device)[:, None].expand_as(known)
    dense = floor.weights.new_zeros(len(floor.weights), len(floor.weights))
    dense[floor.sources[known].long(), to[known]] = floor.weights[known]
    return dense


def plain(trained: TrainedRun) -> PlainModel:
    """A trained run's model in this form, on the CPU.

    Raises:
        DecorecError: there is no such form of the model.
    """
    model, name = trained.model, trained.run.model.name
    if isinstance(model, WithAddedItems):
        raise DecorecError(
            f"{name}: expected a trained run, found one with added items, whose scores are no inner products; "
            "export the run itself, or ask this one through `decorec serve` or `decorec recommend`"
        )
    found = _without_experts(model, trained.representations)
    if found is None:
        raise DecorecError(
            f"{name}: expected a model that can be exported (decorec, sasrec, or sasrec-features with sides: both), "
            "found another; ask it through `decorec serve` or `decorec recommend`"
        )
    experts = model.experts
    if isinstance(experts, ProductOfExperts):
        floor, items = experts.floor, len(trained.items)
        if (floor is not None and not isinstance(floor, ClosedForm)) or items > MOST_ITEMS:
            raise DecorecError(
                f"experts: expected the floor ease or content-ease, or none, and at most {MOST_ITEMS:,} items, found "
                f"{None if floor is None else floor.config.name} and {items:,} items; export the run without experts, "
                "or ask this one through `decorec serve`"
            )
        found = _PlainExperts(found, experts)
    return found.to("cpu", torch.float32).eval().requires_grad_(False)


def _without_experts(model: Recommender, representations: Tensor) -> PlainModel | None:
    if isinstance(model, DeCoRec):
        return _PlainDecorec(model.encoder, representations, model.config)
    tied = isinstance(model, SASRec) or (isinstance(model, SASRecFeatures) and model.config.sides == "both")
    encoder = getattr(model, "encoder", None)
    return PlainModel(encoder, representations) if tied and isinstance(encoder, SequenceEncoder) else None
