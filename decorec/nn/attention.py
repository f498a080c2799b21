"""Attention over packed sequences; only the attention itself uses a padded layout.

Shapes: M modalities, T tokens, B sequences, L positions, H heads, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.data.batches import Group
from decorec.nn.dropout import dropout
from decorec.nn.matmul import Linear, linear

__all__ = ["ReadingAttention", "SelfAttention"]


class SelfAttention(nn.Module):
    """Multi-head self-attention over packed sequences; only the attention itself uses a padded layout."""

    def __init__(self, dim: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        groups: tuple[Group, ...],
        tokens: Tensor | None = None,
        at_ends: bool = False,
        rows: Tensor | None = None,
    ) -> Tensor:
        if at_ends and tokens is not None:  # one query per sequence, which attends to all of it
            (weight, bias), dim = (self.qkv.weight, self.qkv.bias), x.shape[-1]
            query = linear(x.index_select(1, tokens), weight[:dim], bias[:dim])
            rate = self.dropout if self.training else 0.0
            read = _read(query, x, weight[dim:], bias[dim:], groups, self.heads, rate)
            return self.out(read)  # type: ignore[no-any-return]
        qkv = self.qkv(x) if rows is None else self.qkv(x).index_select(1, rows)
        parts = qkv.split([group.end - group.begin for group in groups], 1)
        attended = torch.cat([self._attend(part, group) for part, group in zip(parts, groups, strict=True)], 1)
        out: Tensor = self.out(attended if tokens is None else attended.index_select(1, tokens))
        return out

    def _attend(self, qkv: Tensor, group: Group) -> Tensor:
        modalities, _, triple = qkv.shape
        dim, sequences, width = triple // 3, len(group.lengths), group.width
        padded = qkv.new_zeros(modalities, sequences * width, triple).index_copy(1, group.slots, qkv)
        q, k, v = padded.view(modalities * sequences, width, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mask = None
        if not self.causal:
            # In a left-aligned causal layout no real query attends to padding; a mask is only needed here.
            mask = _real(group).repeat(modalities, 1)[:, None, None, :]
        attended = _attention(q, k, v, mask, self.dropout if self.training else 0.0, self.causal)
        return attended.transpose(1, 2).reshape(modalities, sequences * width, dim).index_select(1, group.slots)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, rate: float, causal: bool = False) -> Tensor:
    """torch's attention, on the CPU with this project's dropout; all tensors are [N, H, L, D / H]."""
    if not rate or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate, is_causal=causal)
    width = q.shape[-2]
    if causal:
        mask = torch.ones(width, width, dtype=torch.bool).tril_()
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return dropout(torch.softmax(logits, -1), rate, True).to(v.dtype) @ v


def _real(group: Group) -> Tensor:
    """[B, width] bool: slots of the padded layout that hold a token."""
    return torch.arange(group.width, device=group.lengths.device) < group.lengths[:, None]


def _read(
    query: Tensor, tokens: Tensor, weight: Tensor, bias: Tensor, groups: tuple[Group, ...], heads: int, rate: float
) -> Tensor:
    """Attention of one query per sequence to the packed tokens of that sequence.

    With one query per sequence, no token has to be projected: q . (K x) = (K^T q) . x, and the sum of a (V x + b) is
    V (sum of a x) + b (sum of a). The bias of the keys adds the same number to all logits of a query, so the softmax
    does not change.

    Args:
        query: [M, B, D].
        tokens: [M, T, D].
        weight: [2 D, D] projections to keys and values.
        bias: [2 D] biases of these projections.
        groups: groups of the tokens.
        heads: H.
        rate: dropout rate of the attention weights.

    Returns:
        [M, B, D].
    """
    modalities, _, dim = query.shape
    to_key, to_value = weight.view(2, heads, dim // heads, dim)  # [H, D / H, D] each
    by_head = query.reshape(-1, heads, dim // heads).transpose(0, 1)
    asked = (by_head * (dim // heads) ** -0.5 @ to_key).view(heads, modalities, -1, dim).permute(1, 2, 0, 3)
    sums, shares = [], []
    parts = torch.split(tokens, [group.end - group.begin for group in groups], 1)
    questions = torch.split(asked, [len(group.lengths) for group in groups], 1)
    for q, x, group in zip(questions, parts, groups, strict=True):
        sequences = len(group.lengths)
        padded = x.new_zeros(modalities, sequences * group.width, dim).index_copy(1, group.slots, x)
        padded = padded.view(modalities * sequences, group.width, dim)
        logits = q.reshape(modalities * sequences, heads, dim) @ padded.transpose(1, 2)
        logits = logits.masked_fill(~_real(group).repeat(modalities, 1)[:, None], -torch.inf)
        share = dropout(torch.softmax(logits, -1), rate, True).to(padded.dtype)
        sums.append((share @ padded).view(modalities, sequences, heads, dim))
        shares.append(share.sum(-1).view(modalities, sequences, heads))
    total = torch.cat(sums, 1).view(-1, heads, dim).transpose(0, 1)  # [H, M B, D]
    read = (total @ to_value.transpose(1, 2)).transpose(0, 1).reshape(modalities, -1, heads, dim // heads)
    out: Tensor = (read + torch.cat(shares, 1)[..., None] * bias[dim:].view(heads, -1)).flatten(2)
    return out


class ReadingAttention(nn.Module):
    """Multi-head attention of one query per sequence to the packed tokens of that sequence."""

    def __init__(self, dim: int, heads: int, dropout: float, output: bool = True) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = Linear(dim, dim)
        self.key_value = Linear(dim, 2 * dim)
        self.out = Linear(dim, dim) if output else None

    def forward(self, query: Tensor, tokens: Tensor, groups: tuple[Group, ...]) -> Tensor:
        """[B, D]; query b attends only to the tokens of sequence b."""
        rate, (weight, bias) = self.dropout if self.training else 0.0, (self.key_value.weight, self.key_value.bias)
        read = _read(self.query(query)[None], tokens[None], weight, bias, groups, self.heads, rate)[0]
        out: Tensor = read if self.out is None else self.out(read)
        return out
