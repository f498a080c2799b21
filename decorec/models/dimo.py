"""DIMO (Zhang et al., SIGIR 2024), corrected: co-occurrence and modality as two separate causes of a choice.

- ids E and modal embeddings F (from content features, then trained), each propagated over training co-occurrence
- one attention layer per cause reads a session at its last item: z_id, z_mo; score z_id . E_j + z_mo . F_j
- auxiliary losses: co-occurring items are similar; a session's vector is near the mean of its own cause and far from
  the other one; the cause that explains the target is nearer to it

Shapes: I items, D width, T tokens, P sessions, K neighbours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.baselines import DimoConfig
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Samples, training_windows
from decorec.data.sequences import Sequences
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.nn.attention import ReadingAttention
from decorec.nn.dropout import dropout
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import Linear
from decorec.nn.sparse import Propagation

__all__ = ["DIMO", "principal_components"]

PUBLISHED_BATCH = 50
"""The published losses are sums over a batch of this size; means times this size weigh the same for any size."""


def principal_components(features: Tensor, count: int) -> Tensor:
    """Leading principal components of the rows, each row scaled to unit mean square; [I, F] -> [I, count].

    Columns beyond the rank of the features are zero.
    """
    centred = (features - features.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    leading = vectors[:, values.argsort(descending=True)[:count]]
    leading = leading * leading.gather(0, leading.abs().argmax(0, keepdim=True)).sign()  # a unique sign
    projected = functional.pad(centred @ leading, (0, max(0, count - leading.shape[1])))
    size = projected.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    return (projected / size).to(features.dtype)


class Neighbours(nn.Module):
    """For each item, those with which it co-occurs most often, and some with which it never does."""

    most: Tensor
    weight: Tensor
    never: Tensor

    def __init__(self, item_data: ItemData, count: int) -> None:
        super().__init__()
        items = item_data.item_count
        crow, col, values = (item_data[f"graph.{name}"].cpu() for name in ("crow", "col", "values"))
        row = torch.repeat_interleave(torch.arange(items), crow.diff().long())
        by_count = torch.argsort(values, descending=True, stable=True)
        order = by_count[torch.argsort(row[by_count], stable=True)]  # by row, then by count
        place = torch.arange(len(order)) - crow.long()[row]
        chosen, kept = order[place < count], place < count
        most, weight = torch.full((items, count), -1), torch.zeros(items, count)
        most[row[kept], place[kept]] = col.long()[chosen]
        weight[row[kept], place[kept]] = values[chosen]
        self.register_buffer("most", most, persistent=False)
        self.register_buffer("weight", weight / weight.sum(1, keepdim=True).clamp_min(1e-8), persistent=False)
        pairs = row * items + col.long()  # sorted: rows ascend, and columns within a row
        self.register_buffer("never", _without(pairs, items, count), persistent=False)

    def contrast(self, x: Tensor) -> Tensor:
        """Loss that moves items towards the mean of their neighbours, summed over items (natural pairs of the ids)."""
        unit = functional.normalize(x, dim=1)
        mean = (self.weight[..., None] * x[self.most.clamp_min(0)]).sum(1)
        near = functional.cosine_similarity(x, mean, dim=1)
        far = torch.einsum("id,ikd->ik", unit, unit[self.never])
        return (torch.logsumexp(torch.cat([near[:, None], far], 1), 1) - near).sum() / math.log(10)

    def explain(self, batch: Batch) -> Tensor:
        """[P] +1 where the target is a neighbour of an item of the session, -1 elsewhere."""
        rows = batch.rows()
        hit = (self.most.index_select(0, batch.items) == batch.following.index_select(0, rows)[:, None]).any(1)
        found = torch.zeros(len(batch.targets), device=rows.device).index_add(0, rows, hit.float())
        return torch.where(found > 0, 1.0, -1.0)


def _without(pairs: Tensor, items: int, count: int) -> Tensor:
    """[I, count] random other items with which an item does not co-occur; after some attempts, any items."""
    drawn, own = torch.randint(items, (items, count)), torch.arange(items)[:, None]
    for _ in range(100):
        keys, found = own * items + drawn, drawn == own
        if len(pairs):
            found |= pairs[torch.searchsorted(pairs, keys).clamp_max(len(pairs) - 1)] == keys
        if not found.any():
            break
        drawn = torch.where(found, torch.randint(items, (items, count)), drawn)
    return drawn


def _prefer(near: tuple[Tensor, Tensor], far: tuple[Tensor, Tensor]) -> Tensor:
    """log10 of the softmax of two cosines, for the first one."""
    gap = functional.cosine_similarity(*near, dim=-1) - functional.cosine_similarity(*far, dim=-1)
    return functional.logsigmoid(gap) / math.log(10)


class DIMO(Recommender):
    """Both causes; representations are their two embeddings side by side, [1, I, 2 D]."""

    supports_horizon = True
    config: DimoConfig

    def __init__(self, config: DimoConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        dim, width = config.dim, 1 / math.sqrt(config.dim)
        self.ids = nn.Embedding(item_data.item_count, dim)
        self.graph = Propagation(item_data["graph.crow"], item_data["graph.col"], item_data["graph.values"])
        self.read_ids = ReadingAttention(dim, config.heads, config.attention_dropout, output=False)
        self.read_modal = ReadingAttention(dim, config.heads, config.attention_dropout, output=False)
        self.proxies = nn.ModuleList(Linear(dim, dim) for _ in range(8))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -width, width)
        content = torch.cat([item_data["features.text"], item_data["features.image"]], 1)
        components = principal_components(content, dim)
        self.modal = nn.Parameter(config.feature_deviation * components)
        self.neighbours = Neighbours(item_data, config.neighbours)

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """One row per prefix: the attention is not causal."""
        return training_windows(sequences, self.config.length, "prefixes", train.horizon)

    def why_not_shared(self, train: StageConfig) -> str | None:
        """Several targets weigh predictions differently in the main loss and in the others."""
        return None if train.horizon == 1 else "with train.horizon above 1"

    def item_representations(self) -> Tensor:
        """Propagated ids and modal embeddings, [1, I, 2 D]."""
        x = torch.cat([self.ids.weight, self.modal], 1)
        x = dropout(x, self.config.dropout, self.training)
        for _ in range(self.config.layers):
            x = x + self.graph(x)
        return x[None]

    def id_tables(self) -> list[Tensor]:
        """The ids; the modal embeddings begin as content."""
        return [self.ids.weight]

    def counterparts(self, earlier: Recommender, items: Tensor) -> dict[str, tuple[int, Tensor]]:
        """Ids, and modal embeddings."""
        return super().counterparts(earlier, items) | {"modal": (0, items)}

    def _states(self, batch: Batch, representations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z_id and z_mo [P, D], and the sessions' mean embeddings [P, 2 D]."""
        tokens = representations[0].index_select(0, batch.items)
        last = tokens.index_select(0, batch.predict)
        dim = self.config.dim
        z_id = self.read_ids(last[:, :dim], tokens[:, :dim], batch.groups)
        z_mo = self.read_modal(last[:, dim:], tokens[:, dim:], batch.groups)
        sums = torch.zeros_like(last).index_add(0, batch.rows(), tokens)
        lengths = torch.cat([group.lengths for group in batch.groups])
        return z_id, z_mo, sums / lengths[:, None]

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over all items, and the weighted auxiliary losses."""
        representations, dim = self.item_representations(), self.config.dim
        z_id, z_mo, mean = self._states(batch, representations)
        main = cross_modal_loss(torch.cat([z_id, z_mo], 1)[None], representations, batch.targets, 1.0, 1.0)
        w = self.proxies
        own_id = _prefer((w[0](z_id), w[1](mean[:, :dim])), (w[2](z_id), w[3](z_mo)))
        own_mo = _prefer((w[4](z_mo), w[5](mean[:, dim:])), (w[6](z_mo), w[7](z_id)))
        target = representations[0].index_select(0, batch.following)
        cause = _prefer((z_id, target[:, :dim]), (z_mo, target[:, dim:])) * self.neighbours.explain(batch)
        per_session = PUBLISHED_BATCH * -(own_id + own_mo + cause).mean()
        return main + self.config.auxiliary * (self.neighbours.contrast(representations[0, :, :dim]) + per_session)

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """z_id . E_j + z_mo . F_j, [P, I]."""
        z_id, z_mo, _ = self._states(batch, representations)
        return torch.cat([z_id, z_mo], 1) @ representations[0].T
