"""MISSRec (Wang et al., MM 2023) from scratch: interests are clusters of both modalities, computed again every epoch.

- linear adaptors for text and picture; their outputs are clustered together before each epoch
- encoder: a transformer layer over the set of interests of a sequence's items
- decoder: a transformer layer over its items that also attends to those interests
- representations: cosines to text and picture, fused by a softmax with one learned scale, and to the id

Shapes: I items, D width, F feature width, K clusters, T tokens, P sequences, U interests of a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.baselines import MissrecConfig
from decorec.config.encoder import EncoderConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Group, Samples, regroup, training_windows
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.attention import ReadingAttention, SelfAttention
from decorec.nn.dropout import Dropout
from decorec.nn.losses import weighted_cross_entropy
from decorec.nn.matmul import Linear
from decorec.nn.transformer import LAYER_NORM_EPSILON, Block, initialise

__all__ = ["MISSRec", "lloyd"]

PUBLISHED_BATCH = 512
"""The published regulariser is a sum over a batch of this size; a mean times this size has the same weight for any."""
DISTANCES_AT_ONCE = 1 << 24


def lloyd(x: Tensor, centroids: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Steps of k-means; a cluster without points keeps its centroid.

    Args:
        x: [N, D].
        centroids: [K, D], initial values.
        steps: number of times that assignment and centroids are computed.

    Returns:
        Centroids [K, D] and the nearest of them for each row of x, [N] int64.
    """
    for _ in range(steps):
        nearest = _nearest(x, centroids)
        count = torch.bincount(nearest, minlength=len(centroids))[:, None]
        mean = torch.zeros_like(centroids).index_add(0, nearest, x) / count.clamp_min(1)
        centroids = torch.where(count > 0, mean, centroids)
    return centroids, _nearest(x, centroids)


def _nearest(x: Tensor, centroids: Tensor) -> Tensor:
    half_norm = centroids.square().sum(1) / 2
    rows = max(1, DISTANCES_AT_ONCE // len(centroids))
    return torch.cat([(part @ centroids.T - half_norm).argmax(1) for part in torch.split(x, rows)])


def _start_projections(module: nn.Module) -> None:
    """Queries, keys and values of an attention as published: torch's Xavier for the three as one matrix [3 D, D]."""
    projections: list[nn.Linear] = []
    if isinstance(module, SelfAttention):
        projections = [module.qkv]
    elif isinstance(module, ReadingAttention):
        projections = [module.query, module.key_value]
    for layer in projections:
        bound = math.sqrt(6 / (4 * layer.in_features))
        nn.init.uniform_(layer.weight, -bound, bound)


class Decoder(nn.Module):
    """Post-norm transformer layer that attends to the sequence, then to its interests; output at the last item."""

    def __init__(self, config: MissrecConfig) -> None:
        super().__init__()
        dim = config.dim
        self.attention = ReadingAttention(dim, config.heads, config.dropout)
        self.cross = ReadingAttention(dim, config.heads, config.dropout)
        self.up, self.down = Linear(dim, config.feed_forward), Linear(config.feed_forward, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON) for _ in range(4))
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, batch: Batch, memory: Tensor, interests: tuple[Group, ...]) -> Tensor:
        """[P, D]."""
        state = x.index_select(0, batch.predict)
        state = self.norms[0](state + self.dropout(self.attention(state, x, batch.groups)))
        state = self.norms[1](state + self.dropout(self.cross(state, memory, interests)))
        state = self.norms[2](state + self.dropout(self.down(functional.gelu(self.up(state)))))
        out: Tensor = self.norms[3](state)
        return out


class MISSRec(Recommender):
    """Item representations are text, picture and (with ids) id vectors, [2 or 3, I, D]."""

    supports_horizon = True
    config: MissrecConfig
    centroids: Tensor
    clusters: Tensor

    def __init__(self, config: MissrecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        dim, items = config.dim, item_data.item_count
        self.ids = nn.Embedding(items, dim) if config.ids else None
        self.positions = nn.Embedding(config.length, dim) if config.positions == "learned" else None
        self.input_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)
        layer = EncoderConfig(
            layers=1, heads=config.heads, feed_forward=config.feed_forward, dropout=config.dropout, length=config.length
        )
        self.encoder = Block(dim, layer, causal=False)
        self.encoder_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.decoder = Decoder(config)
        self.apply(initialise)
        for module in self.modules():
            _start_projections(module)
        self.text = Linear(item_data["features.text"].shape[1], dim)  # the adaptors keep torch's own initial values
        self.image = Linear(item_data["features.image"].shape[1], dim)
        self.fusion = nn.Parameter(torch.zeros(()))
        count = math.ceil(config.interest_ratio * 2 * items)
        # The last clustering is part of the model: the weights are trained with it and do not work with another.
        self.register_buffer("centroids", torch.zeros(count, dim))
        self.register_buffer("clusters", torch.zeros(2, items, dtype=torch.int64))

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """One row per prefix: the decoder is not causal."""
        return training_windows(sequences, self.config.length, "prefixes", train.horizon)

    def before_epoch(self) -> None:
        """Cluster the adapted texts and pictures of all items together."""
        with torch.no_grad():
            x = self._adapted().flatten(0, 1)
            start = x[torch.randperm(len(x))[: len(self.centroids)].to(x.device)]
            centroids, clusters = lloyd(x, start, self.config.lloyd_steps)
            self.centroids.copy_(centroids)
            self.clusters.copy_(clusters.view_as(self.clusters))

    def _adapted(self) -> Tensor:
        return torch.stack([self.text(self.item_data["features.text"]), self.image(self.item_data["features.image"])])

    def why_not_shared(self, train: StageConfig) -> str | None:
        """Several targets weigh predictions differently in the main loss and in the others."""
        return None if train.horizon == 1 else "with train.horizon above 1"

    def item_representations(self) -> Tensor:
        """Not normalised, because the sequence side adds them."""
        adapted = self._adapted()
        return adapted if self.ids is None else torch.cat([adapted, self.ids.weight[None]])

    def id_tables(self) -> list[Tensor]:
        """The ids, if the model has them."""
        return [] if self.ids is None else [self.ids.weight]

    def interests(self, batch: Batch) -> tuple[Tensor, Tensor, tuple[Group, ...]]:
        """The distinct clusters of each sequence's items, sequence by sequence.

        Returns:
            [U] clusters, [U] sequence of each, and the groups of the packed layout.
        """
        rows, count = batch.rows(), len(self.centroids)
        keys = torch.unique(rows * count + self.clusters.index_select(1, batch.items))
        owner = keys // count
        return keys % count, owner, regroup(batch.groups, torch.bincount(owner, minlength=len(batch.targets)))

    def _states(self, batch: Batch, representations: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [P, D] and the energy of each sequence's summed interests [P]."""
        clusters, owner, groups = self.interests(batch)
        distinct, rows = torch.unique(clusters, return_inverse=True)
        tokens = self.centroids.index_select(0, distinct)
        memory = self.encoder_norm(self.encoder(tokens[None], groups, rows=rows))[0]
        summed = memory.new_zeros(len(batch.targets), memory.shape[1]).index_add(0, owner, memory)
        x = representations.sum(0).index_select(0, batch.items)
        if self.positions is not None:
            x = x + self.positions(batch.positions)
        state = self.decoder(self.dropout(self.input_norm(x)), batch, memory, groups)
        return functional.normalize(state, dim=1), summed.square().mean(1)

    def _logits(self, states: Tensor, representations: Tensor) -> Tensor:
        """Fused cosines over the temperature, [P, I]."""
        text, image, *ids = (states @ functional.normalize(c, dim=1).T for c in representations)
        gap = text - image
        fused = image + torch.sigmoid(self.fusion * gap) * gap  # softmax over two
        for cosine in ids:
            fused = (cosine + 2 * fused) / 3
        return fused / self.config.temperature

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items, and the regulariser that keeps interests apart."""
        representations = self.item_representations()
        states, energy = self._states(batch, representations)
        main = weighted_cross_entropy(self._logits(states, representations), batch.targets)
        return main + self.config.interest_weight * PUBLISHED_BATCH * energy.mean()

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Fused cosines, [P, I]."""
        return self._logits(self._states(batch, representations)[0], representations)
