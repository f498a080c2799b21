"""eSASRec (RecSys 2025): SASRec with LiGR layers, here with full cross-entropy over tied item embeddings.

As published: LiGR layers, no normalisation of the input and of the output, Xavier initialisation. Otherwise here: the
softmax is over all items (published: 256 negatives per position), and positions are counted from the oldest item of the
window, as in the other models of this project (published: from the newest, where the same item has one position in
training and others at inference).

Shapes: T tokens, P predictions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.contenders import EsasrecConfig
from decorec.data.batches import Batch, Group
from decorec.models.item_data import ItemData
from decorec.models.tied import TiedRecommender
from decorec.nn.attention import SelfAttention
from decorec.nn.dropout import Dropout
from decorec.nn.matmul import Linear
from decorec.nn.transformer import predicting_states

__all__ = ["ESASRec", "LigrEncoder", "LigrLayer"]


def xavier(module: nn.Module) -> None:
    """Matrices Xavier normal, of variance 2 / (rows + columns); biases of attention 0, other vectors as torch's own."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, SelfAttention):
        for linear in (module.qkv, module.out):
            nn.init.zeros_(linear.bias)


class SwiGLU(nn.Module):
    """W2 drop(silu(W1 u) * (W3 u)), without biases."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.gated, self.up = Linear(dim, hidden, bias=False), Linear(dim, hidden, bias=False)
        self.down = Linear(hidden, dim, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, u: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.down(self.dropout(functional.silu(self.gated(u)) * self.up(u)))
        return out


class LigrLayer(nn.Module):
    """Two pre-norm branches, each added with a gate per channel that reads the state before its normalisation.

    x <- x + sigmoid(W x + b) * drop(attention(LN(x))), then the same with SwiGLU in place of the attention.
    """

    def __init__(self, config: EsasrecConfig) -> None:
        super().__init__()
        dim = config.dim
        self.attention_norm, self.hidden_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, config.heads, config.dropout, causal=True)
        self.hidden = SwiGLU(dim, config.expansion * dim, config.dropout)
        self.attention_gate, self.hidden_gate = Linear(dim, dim), Linear(dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, groups: tuple[Group, ...], tokens: Tensor | None, at_ends: bool) -> Tensor:
        """States after all tokens, or only after ``tokens``; ``at_ends``: these are the last ones of all sequences."""
        attended = self.attention(self.attention_norm(x), groups, tokens, at_ends)
        if tokens is not None:
            x = x.index_select(1, tokens)
        x = x + torch.sigmoid(self.attention_gate(x)) * self.dropout(attended)
        hidden = self.hidden(self.hidden_norm(x))
        out: Tensor = x + torch.sigmoid(self.hidden_gate(x)) * self.dropout(hidden)
        return out


class LigrEncoder(nn.Module):
    """Positions, dropout, LiGR layers; the state is the residual stream itself."""

    def __init__(self, config: EsasrecConfig) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.length, config.dim) if config.positions == "learned" else None
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(LigrLayer(config) for _ in range(config.layers))
        self.apply(xavier)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """States after the tokens whose next item is predicted, [1, T, D] -> [1, P, D]."""
        if self.positions is not None:
            x = x + self.positions.weight.index_select(0, batch.positions)
        return predicting_states(self.layers, self.dropout(x), batch)


class ESASRec(TiedRecommender):
    """Item and position embeddings, LiGR layers, dot product with the item embeddings."""

    def __init__(self, config: EsasrecConfig, item_data: ItemData, stage: str) -> None:
        super().__init__(config, item_data, stage)
        self.items.apply(xavier)
        self.encoder = LigrEncoder(config)
