"""DeCoRec, equation by equation: modality-centric stabilisation (stage 1), collaborative-semantic fusion (stage 2).

The equations are in the order of the paper. Three of them are computed before training, in other modules:

- eq. 1, co-occurrence weighted by closeness: ``decorec.prepare.cooccurrence.count_pairs``
- eq. 4 and 5, clusters of the enriched features: ``decorec.prepare.clustering.cluster``

``decorec.models.decorec_released`` contains what the authors' released code does differently. Each of its parts is
called by one line here. What decorec-plus adds is no part of the model: ``decorec.models.experts``, ``train.horizon``.

Shapes: M modalities, I items, N some of them, D width, F raw feature width, P predictions, K interests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.decorec import DecorecConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch
from decorec.models import decorec_released
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.sampled import SampledRecommender
from decorec.nn.division import Division
from decorec.nn.losses import SampledNegatives, cross_modal_loss, intra_modal_loss
from decorec.nn.matmul import Linear, product
from decorec.nn.sparse import Propagation, rows_of, table_rows
from decorec.nn.transformer import SequenceEncoder, initialise

__all__ = ["CentroidInterests", "DeCoRec", "Enrichment", "ModalAdapter"]


class Enrichment(nn.Module):
    """Eq. 2 and 3: enrichment by co-occurring items, with a gate per item and layer.

    Eq. 2: mu_l = sigmoid(W [S^(l-1) E ; S]). Eq. 3: E_bar = E + (1 / L) sum over l = 1..L of mu_l * (S^l E). The part
    of W that is multiplied with a row of S is a vector over the items, so the gate costs one sparse matrix-vector
    product. Weights start at zero: mu starts at sigmoid(bias). ``width``: of the rows that are enriched.
    """

    def __init__(self, config: DecorecConfig, layers: int, item_count: int, width: int) -> None:
        super().__init__()
        self.layers, self.fixed = layers, None if config.gate == "learned" else float(config.gate)
        if self.fixed is None:
            self.from_embedding = nn.Parameter(torch.zeros(layers, width, 1))
            self.from_graph = nn.Parameter(torch.zeros(layers, item_count, 1))
            self.bias = nn.Parameter(torch.full((layers,), config.gate_bias))

    def _gate(self, layer: int, hop: Tensor, graph: Propagation, items: Tensor | None) -> Tensor:
        """Eq. 2, [I, 1]."""
        weights = self.from_graph[layer] if items is None else self.from_graph[layer].index_select(0, items)
        return torch.sigmoid(hop @ self.from_embedding[layer] + graph(weights) + self.bias[layer])

    def _hops(
        self, x: Tensor, graph: Propagation, items: Tensor | None = None
    ) -> Iterator[tuple[Tensor | float, Tensor]]:
        """mu_l, [I, 1] or one number, and S^l x, [I, D], of each layer."""
        hop = x
        for layer in range(self.layers):
            gate: Tensor | float = self.fixed if self.fixed is not None else self._gate(layer, hop, graph, items)
            hop = graph(hop)
            yield gate, hop

    def forward(self, x: Tensor, graph: Propagation, items: Tensor | None = None) -> Tensor:
        """Eq. 3, [I, D] -> [I, D]; with ``items`` [N] for these alone, over which ``graph`` is then."""
        total = x
        for gate, hop in self._hops(x, graph, items):
            total = total + gate * hop / self.layers
        return total

    def gates(self, x: Tensor, graph: Propagation) -> Tensor:
        """mu of every layer and item (eq. 2), [L, I]."""
        each = [
            x.new_full((len(x),), gate) if isinstance(gate, float) else gate[:, 0] for gate, _ in self._hops(x, graph)
        ]
        return torch.stack(each)


def _interest_mlp(width: int, dim: int) -> nn.Sequential:
    """The MLP of eq. 6."""
    mlp = nn.Sequential(Linear(width, dim), nn.ReLU(), Linear(dim, dim))
    mlp.apply(initialise)
    return mlp


class Interests(nn.Module):
    """Eq. 6: a learned embedding of the index of an item's cluster, through an MLP."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, dim)
        self.table.apply(initialise)
        self.mlp = _interest_mlp(dim, dim)

    def forward(self, assignment: Tensor, few: bool = False) -> Tensor:
        """[I] cluster numbers -> [I, D]; ``few`` items: the clusters of others are not read."""
        if few:
            alone: Tensor = self.mlp(table_rows(self.table.weight, assignment))
            return alone
        embedded: Tensor = self.mlp(self.table.weight)
        return embedded.index_select(0, assignment)


class CentroidInterests(nn.Module):
    """``interest_input: centroid``: eq. 6 with the centroid of an item's cluster in place of an embedding."""

    centroids: Tensor

    def __init__(self, centroids: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("centroids", centroids, persistent=False)
        self.mlp = _interest_mlp(centroids.shape[1], dim)

    def forward(self, assignment: Tensor, few: bool = False) -> Tensor:
        """[I] cluster numbers -> [I, D]; ``few`` items: the clusters of others are not read."""
        if few:
            alone: Tensor = self.mlp(self.centroids.index_select(0, assignment))
            return alone
        embedded: Tensor = self.mlp(self.centroids)
        return embedded.index_select(0, assignment)


class ModalAdapter(nn.Module):
    """Eq. 7 and 8: maps raw features to the space of behaviour, then enriches them (eq. 3); ``enrich: raw``: before."""

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
        self.enriches_raw = config.enrich == "raw"
        enriched = width if self.enriches_raw else config.dim
        self.enrich = Enrichment(config, config.modal_layers, item_count, enriched) if config.modal_layers else None

    def forward(self, features: Tensor, graph: Propagation | None, items: Tensor | None = None) -> Tensor:
        """[I, F] -> [I, D]; with ``items`` [N] for these alone, of which ``features`` and ``graph`` are then."""
        if self.enriches_raw:
            features = self._enriched(features, graph, items)
        adapted: Tensor = self.project(features)
        return adapted if self.enriches_raw else self._enriched(adapted, graph, items)

    def gates(self, features: Tensor, graph: Propagation | None) -> Tensor | None:
        """mu of every layer and item, [L, I]; None if nothing is enriched."""
        if self.enrich is None or graph is None:
            return None
        return self.enrich.gates(features if self.enriches_raw else self.project(features), graph)

    def _enriched(self, x: Tensor, graph: Propagation | None, items: Tensor | None) -> Tensor:
        """Eq. 3, if the model has it."""
        if self.enrich is None or graph is None:
            return x
        enriched: Tensor = self.enrich(x, graph, items)
        return enriched


def _same_clusters(now: Tensor, then: Tensor, items: Tensor) -> Tensor:
    """For each cluster of ``now`` the cluster of ``then`` that most of its items were in, [K]; -1: all are new.

    Args:
        now: [I] cluster of each item.
        then: [J] cluster of each earlier item.
        items: [I] position of each item among the earlier ones, -1 for a new one.
    """
    known = items >= 0
    before = then[items[known]]
    shared = torch.zeros(int(now.max()) + 1, int(then.max()) + 1, dtype=torch.int64)
    shared.index_put_((now[known], before), torch.ones_like(before), accumulate=True)
    most, which = shared.max(1)
    return torch.where(most > 0, which, -1)


class DeCoRec(SampledRecommender):
    """The model of both stages; it has ids and interests from stage 2 on (in joint training from the start)."""

    supports_horizon = True

    def __init__(self, config: DecorecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        fused = stage != "stage1"
        count = item_data.item_count
        self.widths = {name: item_data.width(f"features.{name}") for name in config.modalities}
        self.adapters = nn.ModuleDict({name: ModalAdapter(config, width, count) for name, width in self.widths.items()})
        self.encoder = SequenceEncoder(config.dim, config.encoder)
        if config.initialisation == "torch":
            decorec_released.start_attention_as_torch_does(self.encoder)
        self.graph = None
        if "graph.crow" in item_data:
            self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])
        self.ids = self.enrich_ids = None
        if fused and config.ids:
            self.ids = nn.Embedding(count, config.dim)
            nn.init.normal_(self.ids.weight, std=config.id_deviation)
            if config.id_layers:
                released = config.id_enrichment == "mean"
                self.enrich_ids = (
                    decorec_released.MeanOfHops(config.id_layers)
                    if released
                    else Enrichment(config, config.id_layers, count, config.dim)
                )
        self.interests = None
        if fused and config.interests and config.modalities:
            self.interests = nn.ModuleDict({name: self._interests_of(name) for name in config.modalities})
        self._frozen: Tensor | None = None
        self._has_frozen_adapters = stage == "stage2" and config.freeze
        if self._has_frozen_adapters:
            self.adapters.requires_grad_(False)

    def _interests_of(self, modality: str) -> nn.Module:
        """Eq. 6 for one modality."""
        if self.config.interest_input == "centroid":
            return CentroidInterests(self.item_data[f"centroids.{modality}"], self.config.dim)
        kind = Interests if self.config.interest_mlp else decorec_released.InterestTable
        return kind(int(self.item_data[f"interests.{modality}"].max()) + 1, self.config.dim)

    def modal(self) -> Tensor:
        """Eq. 3, 7 and 8: enriched modal representations, [M, I, D]; computed only once if the adapters are frozen.

        Without modalities: zeros, [1, I, D], as if of one modality that says nothing.
        """
        if not self.adapters:
            return torch.zeros(1, self.item_data.item_count, self.config.dim, device=self.item_data.device)
        frozen = self._has_frozen_adapters
        if frozen and self._frozen is not None:
            return self._frozen
        # What is kept serves the ranking as well, which computes in full precision whatever train.precision is.
        with torch.autocast(self.item_data.device.type, enabled=False) if frozen else nullcontext():
            each = [adapter(self.item_data[f"features.{name}"], self.graph) for name, adapter in self.adapters.items()]
        modal = torch.stack(each) if len(each) > 1 else each[0][None]
        if frozen:
            self._frozen = modal.detach()
        return modal

    def item_representations(self) -> Tensor:
        """Eq. 10: enriched modality m + enriched ids + interest embedding of m, [M, I, D]; stage 1: only the first."""
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

    def representations_of(self, items: Tensor) -> Tensor:
        """Eq. 10 of some items, [M, N, D]: computed from these and from what the graph has within reach of them."""
        around, graph = items, None
        hops = max(self.config.modal_layers, self.config.id_layers if self.ids is not None else 0)
        if self.graph is not None and hops:
            around, graph = self.graph.around(items, hops)
        return self._representations(around, graph, len(items))

    def own_representations(self, division: Division) -> Tensor:
        """Eq. 10 of one process's items, [M, N, D]; what the graph has around them comes from the other processes."""
        graph = None if self.graph is None else self.graph.divided(division)
        return self._representations(division.items, graph)

    def _representations(self, rows: Tensor | slice, graph: Propagation | None, count: int | None = None) -> Tensor:
        """Eq. 10 of the first ``count`` of the items ``rows``, over which the graph is; None: of all.

        A tensor: a few items, of which no row of another one is read. A slice: those of one process.
        """
        few = isinstance(rows, Tensor)
        around = rows if isinstance(rows, Tensor) else torch.arange(rows.start, rows.stop, device=self.item_data.device)
        items = around[:count]
        if not self.adapters:
            representation = torch.zeros(1, len(items), self.config.dim, device=items.device)
        elif self._has_frozen_adapters and (self.holds_whole or not few):
            representation = self.modal().index_select(1, items)
        else:
            features = {name: self.item_data.rows(f"features.{name}", rows) for name in self.adapters}
            each = [adapter(features[name], graph, around) for name, adapter in self.adapters.items()]
            representation = torch.stack(each)[:, :count]
        if self.ids is not None:
            ids = table_rows(self.ids.weight, around) if few else self.ids.weight.index_select(0, around)
            if self.enrich_ids is not None and graph is not None:
                ids = self.enrich_ids(ids, graph, around)
            representation = representation + ids[:count]
        if self.interests is not None:
            of = {name: self.item_data[f"interests.{name}"].index_select(0, items) for name in self.interests}
            representation = representation + torch.stack([self.interests[name](of[name], few) for name in of])
        return representation

    def id_tables(self) -> list[Tensor]:
        """The ids, if the model has them."""
        return [] if self.ids is None else [self.ids.weight]

    def gates(self) -> dict[str, Tensor]:
        """Eq. 2: modality, or "ids" -> mu of every layer and item, [L, I]; without those that are not enriched so."""
        found: dict[str, Tensor | None] = {}
        for name, adapter in self.adapters.items():
            assert isinstance(adapter, ModalAdapter)
            found[name] = adapter.gates(self.item_data[f"features.{name}"], self.graph)
        if self.ids is not None and isinstance(self.enrich_ids, Enrichment) and self.graph is not None:
            found["ids"] = self.enrich_ids.gates(self.ids.weight, self.graph)
        return {name: gates for name, gates in found.items() if gates is not None}

    def _states(self, batch: Batch, representations: Tensor) -> Tensor:
        """Eq. 9 and 11: one causal transformer for all modalities, [M, P, D]."""
        states: Tensor = self.encoder(rows_of(representations, batch.items), batch)
        return states

    def _comparable(self, states: Tensor, representations: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of the product in eq. 12."""
        if self.config.similarity == "cosine":
            return functional.normalize(states, dim=-1), functional.normalize(representations, dim=-1)
        return states, representations

    @property
    def can_be_divided(self) -> bool:
        """Not with a row of padding, which is no item of any process."""
        return super().can_be_divided and not self.config.padding_negative

    def loss_of(
        self,
        states: Tensor,
        representations: Tensor,
        targets: Tensor,
        drawn: SampledNegatives | None = None,
        division: Division | None = None,
    ) -> Tensor:
        """Eq. 12 to 15: each state retrieves the target in all modalities (see ``cross_modal_loss``).

        ``cross: false``: in its own modality alone (see ``intra_modal_loss``).
        """
        if self.config.padding_negative:
            padding = decorec_released.padding_row(self.adapters, self.widths, self.item_data.device)
            representations = torch.cat([representations, padding], 1)
        states, representations = self._comparable(states, representations)
        temperature, alpha = self.config.temperature, self.config.alpha
        if not self.config.cross:
            return intra_modal_loss(states, representations, targets, temperature, drawn, division)
        return cross_modal_loss(states, representations, targets, temperature, alpha, drawn, division)

    def logits(self, states: Tensor, representations: Tensor) -> Tensor:
        """Eq. 12. Rows are the states in all modalities; columns are the items in all modalities, or in the row's own.

        Args:
            states: [M, P, D].
            representations: [M, N, D].

        Returns:
            [M * P, M * N]; with ``cross: false`` [M * P, N].
        """
        states, representations = self._comparable(states, representations)
        states = states / self.config.temperature
        if self.config.cross:
            return product(states.flatten(0, 1), representations.flatten(0, 1))
        return torch.cat([product(one, items) for one, items in zip(states, representations, strict=True)])

    def total(self, logits: Tensor, modalities: int, before: Tensor | None) -> Tensor | None:
        """[M * P] logarithm of the denominator of eq. 16, or what stands in its place."""
        if self.config.scoring == "logits":
            return None
        if self.config.scoring == "exponentials":
            largest = decorec_released.largest_logit(logits, modalities)
            return largest if before is None else torch.maximum(largest, before)
        total = torch.logsumexp(logits, 1)
        return total if before is None else torch.logaddexp(total, before)

    def scores_from(self, logits: Tensor, modalities: int, total: Tensor | None = None) -> Tensor:
        """Eq. 16 to 18, [P, N]."""
        if self.config.scoring == "exponentials":
            shares = decorec_released.shared_exponentials(logits, modalities, total)
        elif self.config.scoring == "logits":
            shares = logits
        elif total is None:
            shares = torch.softmax(logits, 1, out=logits)  # eq. 16, row by row, in place
        else:
            shares = logits.sub_(total[:, None]).exp_()
        items = logits.shape[1] // (modalities if self.config.cross else 1)
        parts = shares.view(modalities, len(logits) // modalities, -1, items)
        total = torch.zeros_like(parts[0, :, 0])
        for own, part in enumerate(parts.unbind()):  # eq. 18: the sum over the modalities of eq. 17
            for other, share in enumerate(part.unbind(1)):
                total.add_(share, alpha=1.0 if own == other or not self.config.cross else self.config.alpha)
        return total

    def log_shares(self, scores: Tensor) -> Tensor:
        """Scores are sums of shares, unless they are sums of logits."""
        if self.config.scoring == "logits":
            return super().log_shares(scores)
        shares = scores.div_(scores.sum(1, keepdim=True))
        return shares.clamp_min_(torch.finfo(scores.dtype).tiny).log_()

    def start_from(self, previous: dict[str, Tensor]) -> None:
        """Load adapters and encoder of stage 1 into stage 2; the other parameters keep their initial values."""
        own = self.state_dict()
        shared = {name: tensor for name, tensor in previous.items() if name.split(".")[0] in ("adapters", "encoder")}
        expected = {name for name in own if name.split(".")[0] in ("adapters", "encoder")}
        if set(shared) != expected:
            raise ValueError(f"stage 1 and 2 differ in {sorted(set(shared) ^ expected)}")
        self.load_state_dict(own | shared)
        self._frozen = None

    def counterparts(self, earlier: Recommender, items: Tensor) -> dict[str, tuple[int, Tensor]]:
        """Ids, gates of eq. 2, and the embeddings of clusters: a cluster goes by the items that are in it."""
        found = super().counterparts(earlier, items)
        found |= {name: (1, items) for name, _ in self.named_parameters() if name.endswith("from_graph")}
        for name in self.interests or ():
            if (table := f"interests.{name}.table.weight") in dict(self.named_parameters()):
                key = f"interests.{name}"
                now, then = self.item_data[key].cpu(), earlier.item_data[key].cpu()
                found[table] = 0, _same_clusters(now, then, items)
        return found

    def parameter_groups(self, train: StageConfig) -> list[dict[str, Any]]:
        """Ids and interests have a learning rate of their own."""
        slow = [*(self.ids.parameters() if self.ids is not None else [])]
        slow += self.interests.parameters() if self.interests is not None else []
        chosen = {id(parameter) for parameter in slow}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in chosen and parameter.requires_grad]
        groups = [{"params": rest, "lr": train.learning_rate}]
        if slow:
            groups.append({"params": slow, "lr": train.id_learning_rate})
        return groups
