"""DeCoRec: modality-centric stabilisation (stage 1), then collaborative-semantic fusion with frozen adapters (stage 2).

- one adapter per modality (eq. 8), enriched with co-occurrence (eq. 2, 3), frozen in stage 2
- stage 2 adds enriched ids and interest embeddings (eq. 6, 10)
- one causal transformer for both modalities (eq. 9, 11)
- every modality retrieves the target in both modalities' representations (eq. 12 to 18)

Shapes: M modalities, I items, D width, F raw feature width, P predictions, K interests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.decorec import DecorecConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.attention import SelfAttention
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import Linear, product
from decorec.nn.sparse import Propagation, neighbours, rows_of
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["DeCoRec"]


class Enrichment(nn.Module):
    """Co-occurrence enrichment with a gate per item and layer (eq. 2, 3).

    E_bar = E + (1 / L) sum over l = 1..L of mu_l * (S^l E), mu_l = sigmoid(W [S^(l-1) E ; S]). The part of W that
    meets a row of S is a vector over the items, so that the gate costs one sparse matrix-vector product. Weights start
    at zero: mu starts at sigmoid(bias).
    """

    def __init__(self, config: DecorecConfig, layers: int, item_count: int) -> None:
        super().__init__()
        self.layers, self.fixed = layers, None if config.gate == "learned" else float(config.gate)
        if self.fixed is None:
            self.from_embedding = nn.Parameter(torch.zeros(layers, config.dim, 1))
            self.from_graph = nn.Parameter(torch.zeros(layers, item_count, 1))
            self.bias = nn.Parameter(torch.full((layers,), config.gate_bias))

    def forward(self, x_ID: Tensor, graph: Propagation) -> Tensor:
        """[I, D] -> [I, D]."""
        total, hop = x_ID, x_ID
        for layer in range(self.layers):
            gate: Tensor | float = self.fixed if self.fixed is not None else self._gate(layer, hop, graph)
            hop = graph(hop)
            total = total + gate * hop / self.layers
        return total

    def _gate(self, layer: int, hop: Tensor, graph: Propagation) -> Tensor:
        return torch.sigmoid(hop @ self.from_embedding[layer] + graph(self.from_graph[layer]) + self.bias[layer])


class MeanOfHops(nn.Module):
    """Plain mean over 0..L hops, as the released code enriches its ids."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x_ID: Tensor, graph: Propagation) -> Tensor:
        """[I, D] -> [I, D]."""
        total, hop = x_ID, x_ID
        for _ in range(self.layers):
            hop = graph(hop)
            total = total + hop
        return total / (self.layers + 1)


class ModalAdapter(nn.Module):
    """From raw features to enriched representations in the space of behaviour (eq. 8, then eq. 3)."""

    def __init__(self, config: DecorecConfig, width: int, item_count: int) -> None:
        super().__init__()
        hidden = config.adapter_hidden or config.dim
        self.project: nn.Module = (
            Linear(width, config.dim)
            if config.adapter == "linear"
            else nn.Sequential(Linear(width, hidden), nn.ReLU(), Linear(hidden, config.dim))
        )
        if config.initialisation == "normal":
            self.project.apply(initialise)
        self.enrich = Enrichment(config, config.modal_layers, item_count) if config.modal_layers else None

    def forward(self, features: Tensor, graph: Propagation | None) -> Tensor:
        """[I, F] -> [I, D]."""
        adapted: Tensor = self.project(features)
        if self.enrich is not None and graph is not None:
            adapted = self.enrich(adapted, graph)
        return adapted


class Interests(nn.Module):
    """Embedding of an item's cluster, through an MLP (eq. 6), or a bare table that starts at zero (released code)."""

    def __init__(self, config: DecorecConfig, count: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, config.dim)
        self.mlp = None
        if config.interest_mlp:
            self.table.apply(initialise)
            self.mlp = nn.Sequential(Linear(config.dim, config.dim), nn.ReLU(), Linear(config.dim, config.dim))
            self.mlp.apply(initialise)
        else:
            nn.init.zeros_(self.table.weight)

    def forward(self, assignment: Tensor) -> Tensor:
        """[I] cluster numbers -> [I, D]."""
        embedded = self.table.weight if self.mlp is None else self.mlp(self.table.weight)
        return embedded.index_select(0, assignment)


def _shares(x: Tensor) -> Tensor:
    """Each row over its sum; rows of zeros stay."""
    return x / x.sum(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _relative(x: Tensor) -> Tensor:
    """Each row [I] of non-negative numbers over the mean of those that are not 0; rows of zeros stay."""
    return _shares(x) * (x > 0).sum(1, keepdim=True)


def _with_repeats(scores: Tensor, batch: Batch, rate: Tensor) -> Tensor:
    """Scores [P, I] whose items of the history hold ``rate`` of the sum; the order on either side stays."""
    past = torch.zeros_like(scores, dtype=torch.bool)
    past[batch.rows(), batch.items] = True
    shares, tiny = _shares(scores), torch.finfo(scores.dtype).tiny
    mass = (shares * past).sum(1, keepdim=True)
    return shares * torch.where(past, rate / mass.clamp_min(tiny), (1 - rate) / (1 - mass).clamp_min(tiny))


class DeCoRec(Recommender):
    """The model of both stages; ids and interests exist from stage 2 on (or from the start in joint training)."""

    supports_sampled_softmax = True
    supports_horizon = True
    repeat_rate: Tensor | None

    def __init__(self, config: DecorecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        fused = stage != "stage1"
        count = item_data.item_count
        self.adapters = nn.ModuleDict(
            {name: ModalAdapter(config, item_data[f"features.{name}"].shape[1], count) for name in config.modalities}
        )
        self.encoder = SequenceEncoder(config.dim, config.encoder)
        if config.initialisation == "torch":
            for module in self.encoder.modules():
                if isinstance(module, SelfAttention):
                    nn.init.xavier_uniform_(module.qkv.weight)
        self.graph = None
        if "graph.crow" in item_data:
            self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])
        self.ids = self.enrich_ids = None
        if fused and config.ids:
            self.ids = nn.Embedding(count, config.dim)
            nn.init.normal_(self.ids.weight, std=config.id_deviation)
            if config.id_layers:
                self.enrich_ids = (
                    MeanOfHops(config.id_layers)
                    if config.id_enrichment == "mean"
                    else Enrichment(config, config.id_layers, count)
                )
        self.interests = None
        if fused and config.interests:
            clusters = {name: int(item_data[f"interests.{name}"].max()) + 1 for name in config.modalities}
            self.interests = nn.ModuleDict({name: Interests(config, clusters[name]) for name in config.modalities})
        # None or the share of interactions with something that the user had before.
        self.register_buffer("repeat_rate", torch.zeros(()) if fused and config.repeats == "counted" else None)
        self._frozen: Tensor | None = None
        if stage == "stage2" and config.freeze:
            self.adapters.requires_grad_(False)

    def start_from(self, previous: dict[str, Tensor]) -> None:
        """Take over the adapters and the encoder of stage 1; what only stage 2 has keeps its fresh start."""
        own = self.state_dict()
        shared = {name: tensor for name, tensor in previous.items() if name.split(".")[0] in ("adapters", "encoder")}
        expected = {name for name in own if name.split(".")[0] in ("adapters", "encoder")}
        if set(shared) != expected:
            raise ValueError(f"stage 1 and 2 differ in {sorted(set(shared) ^ expected)}")
        self.load_state_dict(own | shared)
        self._frozen = None

    def modal(self) -> Tensor:
        """Enriched modal representations, [M, I, D]; computed once where the adapters are frozen."""
        frozen = self.stage == "stage2" and self.config.freeze
        if frozen and self._frozen is not None:
            return self._frozen
        each = [adapter(self.item_data[f"features.{name}"], self.graph) for name, adapter in self.adapters.items()]
        modal = torch.stack(each) if len(each) > 1 else each[0][None]
        if frozen:
            self._frozen = modal.detach()
        return modal

    def item_representations(self) -> Tensor:
        """A_m(F_m) enriched + enriched ids + interest embedding of m (eq. 10), [M, I, D]."""
        representation = self.modal()
        if self.ids is not None:
            ids = self.ids.weight
            if self.enrich_ids is not None and self.graph is not None:
                ids = self.enrich_ids(ids, self.graph)
            representation = representation + ids
        if self.interests is not None:
            embedded = [module(self.item_data[f"interests.{name}"]) for name, module in self.interests.items()]
            representation = representation + torch.stack(embedded)
        return representation

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        states: Tensor = self.encoder(rows_of(representations, batch.items), batch)
        return states

    def _padding(self) -> Tensor:
        """The released code's padding row: adapted zero features, [M, 1, D]."""
        width = {name: self.item_data[f"features.{name}"].shape[1] for name in self.adapters}
        device = self.item_data.device
        return torch.stack(
            [adapter(torch.zeros(1, width[name], device=device), None) for name, adapter in self.adapters.items()]
        )

    def _comparable(self, states: Tensor, representations: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.similarity == "cosine":
            return functional.normalize(states, dim=-1), functional.normalize(representations, dim=-1)
        return states, representations

    def loss(self, batch: Batch) -> Tensor:
        """Eq. 12 to 15."""
        return self.loss_over(self.item_representations(), batch)

    def loss_over(self, representations: Tensor, batch: Batch) -> Tensor:
        """The same loss with ``representations`` [M, I, D] as the representations of the items."""
        states = self._states(batch, representations)
        if self.config.padding_negative:
            representations = torch.cat([representations, self._padding()], 1)
        states, representations = self._comparable(states, representations)
        temperature, alpha = self.config.temperature, self.config.alpha
        return cross_modal_loss(states, representations, batch.targets, temperature, alpha, self.sampled_negatives())

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Eq. 16 to 18, [P, I]; two corrections of decorec-plus, which are not in the paper, come after them.

        ``neighbourhood``: times 1 + neighbourhood * q, q being the item's co-occurrence with the history, later items
        counting more, as in item-kNN, in units of the mean over all items that co-occur with it. Adapters and hops blur
        what was bought with what; this product of experts says it once more. A share of all co-occurrence would not do
        for q: long histories have many neighbours, each with a small share.

        ``repeats``: the items of the history share what repeats had in training, and no more: a state is made of the
        history, so that its items score highly, however rarely anybody comes back to one (RepeatNet, Ren et al. 2019,
        learns that probability; here it is counted).
        """
        states, whole = self._comparable(self._states(batch, representations), representations)
        modalities, items, width = whole.shape
        # Rows are states of all modalities, columns representations of all modalities: one product.
        logits = product((states / self.config.temperature).reshape(-1, width), whole.reshape(-1, width))
        if self.config.scoring == "exponentials":
            largest = logits.view(modalities, -1, logits.shape[1]).amax((0, 2)).repeat(modalities)
            logits = logits.sub_(largest[:, None]).exp_()
        else:
            logits = torch.softmax(logits, 1, out=logits)  # row by row, in place
        parts = logits.view(modalities, -1, modalities, items)
        total = torch.zeros_like(parts[0, :, 0])
        for own in range(modalities):
            for other in range(modalities):
                total.add_(parts[own, :, other], alpha=1.0 if own == other else self.config.alpha)
        if self.config.neighbourhood and self.graph is not None:
            near = neighbours(self.graph, batch, items)
            total.mul_(1 + self.config.neighbourhood * _relative(near))
        return total if self.repeat_rate is None else _with_repeats(total, batch, self.repeat_rate)

    def observe(self, training: Sequences) -> None:
        """Count how often a user took what the user had taken before."""
        if self.repeat_rate is not None:
            users = np.repeat(np.arange(len(training.users)), training.lengths)
            first = len(np.unique(users * self.item_data.item_count + training.items))
            again, chances = len(training.items) - first, len(training.items) - int((training.lengths > 0).sum())
            self.repeat_rate.fill_((again + 1) / (chances + 2))  # rule of succession: never is not impossible

    def parameter_groups(self, train: StageConfig) -> list[dict[str, Any]]:
        """Ids and interests learn at their own rate."""
        slow = [*(self.ids.parameters() if self.ids is not None else [])]
        slow += self.interests.parameters() if self.interests is not None else []
        chosen = {id(parameter) for parameter in slow}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in chosen and parameter.requires_grad]
        groups = [{"params": rest, "lr": train.learning_rate}]
        if slow:
            groups.append({"params": slow, "lr": train.id_learning_rate})
        return groups
