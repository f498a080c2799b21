"""Layers that several models share.

Shapes: M modalities, T tokens, B sequences, L positions, H heads, D width, I items.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from decorec.batches import Batch, Group
from decorec.config.learning import EncoderConfig
from decorec.models.dropout import Dropout, dropout
from decorec.products import Linear, linear

__all__ = [
    "Block",
    "Propagation",
    "ReadingAttention",
    "SelfAttention",
    "SequenceEncoder",
    "initialise",
    "neighbours",
    "rows_of",
]

LAYER_NORM_EPSILON = 1e-12
INITIAL_DEVIATION = 0.02
SLICE = 1 << 18
"""Elements of the dense factor of a sparse product that are used at a time (1 MB in float32)."""


def initialise(module: nn.Module) -> None:
    """Linear and embedding weights N(0, 0.02), biases 0, as in BERT and the code bases of this literature."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def rows_of(candidates: Tensor, items: Tensor) -> Tensor:
    """Representations of the batch's items, [M, I, D] and [T] -> [M, T, D].

    The gradient is sparse: it is added to that of the loss, so that no second array of the size of all candidates is
    filled.
    """
    rows: Tensor = _Rows.apply(candidates, items)
    return rows


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, candidates: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(items)
        ctx.shape = candidates.shape
        return candidates.index_select(1, items)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (items,) = ctx.saved_tensors
        modality = torch.arange(len(grad), device=grad.device).repeat_interleave(len(items))
        index = torch.stack([modality, items.repeat(len(grad))])
        sparse = torch.sparse_coo_tensor(index, grad.reshape(len(index[0]), -1), ctx.shape, check_invariants=False)
        return sparse, None


class SelfAttention(nn.Module):
    """Multi-head self-attention over packed sequences; only the attention itself sees a padded layout."""

    def __init__(self, dim: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(
        self,
        x_MTD: Tensor,
        groups: tuple[Group, ...],
        tokens: Tensor | None = None,
        at_ends: bool = False,
        rows: Tensor | None = None,
    ) -> Tensor:
        if at_ends and tokens is not None:  # one query per sequence, which sees all of it
            (weight, bias), dim = (self.qkv.weight, self.qkv.bias), x_MTD.shape[-1]
            query = linear(x_MTD.index_select(1, tokens), weight[:dim], bias[:dim])
            rate = self.dropout if self.training else 0.0
            read = _read(query, x_MTD, weight[dim:], bias[dim:], groups, self.heads, rate)
            return self.out(read)  # type: ignore[no-any-return]
        qkv = self.qkv(x_MTD) if rows is None else self.qkv(x_MTD).index_select(1, rows)
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
            # Left-aligned and causal, a real query never sees the padding behind it; only here it has to be masked.
            mask = _real(group).repeat(modalities, 1)[:, None, None, :]
        attended = _attention(q, k, v, mask, self.dropout if self.training else 0.0, self.causal)
        return attended.transpose(1, 2).reshape(modalities, sequences * width, dim).index_select(1, group.slots)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, rate: float, causal: bool = False) -> Tensor:
    """torch's attention, on the CPU with the dropout of this project; [N, H, L, D / H] each."""
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

    Where a sequence asks one question only, nothing has to be projected per token: q . (K x) = (K^T q) . x, and the sum
    of a (V x + b) is V (sum of a x) + b (sum of a). The keys' bias adds the same to all logits of a query, which the
    softmax takes out.

    Args:
        query: [M, B, D].
        tokens: [M, T, D].
        weight: [2 D, D] projections to keys and values.
        bias: [2 D] of the same.
        groups: of the tokens.
        heads: H.
        rate: dropout of the attention.

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

    def forward(self, query_BD: Tensor, tokens_TD: Tensor, groups: tuple[Group, ...]) -> Tensor:
        """[B, D]; sequence b reads its own tokens alone."""
        rate, (weight, bias) = self.dropout if self.training else 0.0, (self.key_value.weight, self.key_value.bias)
        read = _read(self.query(query_BD)[None], tokens_TD[None], weight, bias, groups, self.heads, rate)[0]
        out: Tensor = read if self.out is None else self.out(read)
        return out


class Block(nn.Module):
    """Post-norm transformer layer with GELU."""

    def __init__(self, dim: int, config: EncoderConfig, causal: bool) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, config.heads, config.dropout, causal)
        self.attention_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.up = Linear(dim, config.feed_forward)
        self.down = Linear(config.feed_forward, dim)
        self.output_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x_MTD: Tensor,
        groups: tuple[Group, ...],
        tokens: Tensor | None = None,
        at_ends: bool = False,
        rows: Tensor | None = None,
    ) -> Tensor:
        """States after all tokens, or only after ``tokens``; ``at_ends``: those are the last ones of all sequences.

        ``rows`` [T]: where few different inputs repeat, ``x_MTD`` holds each once, and this names that of each token.
        """
        attended = self.attention(x_MTD, groups, tokens, at_ends, rows)
        if rows is not None:
            x_MTD = x_MTD.index_select(1, rows)
        if tokens is not None:
            x_MTD = x_MTD.index_select(1, tokens)
        x_MTD = self.attention_norm(x_MTD + self.dropout(attended))
        hidden = self.down(functional.gelu(self.up(x_MTD)))
        out: Tensor = self.output_norm(x_MTD + self.dropout(hidden))
        return out


class SequenceEncoder(nn.Module):
    """LN and dropout on the input, then transformer blocks (eq. 9); one set of weights for all modalities."""

    def __init__(self, dim: int, config: EncoderConfig, causal: bool = True, slots: int | None = None) -> None:
        super().__init__()
        slots = slots or config.length
        self.positions = nn.Embedding(slots, dim) if config.positions == "learned" else None
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(dim, config, causal) for _ in range(config.layers))
        self.apply(initialise)

    def forward(self, x_MTD: Tensor, batch: Batch) -> Tensor:
        """States after the tokens whose next item is predicted, [M, T, D] -> [M, P, D]."""
        if self.positions is not None:
            x_MTD = x_MTD + self.positions.weight.index_select(0, batch.positions)
        x_MTD = self.dropout(self.norm(x_MTD))
        *inner, last = self.blocks
        for block in inner:
            x_MTD = block(x_MTD, batch.groups)
        # In training every token may be predicted from; at inference only the last one of each sequence is.
        everything = len(batch.predict) == len(batch.items)
        states: Tensor = last(x_MTD, batch.groups, None if everything else batch.predict, batch.at_ends)
        return states


class Propagation(nn.Module):
    """Product of a constant sparse [I, I] matrix with dense [I, D] ones."""

    crow: Tensor
    col: Tensor
    values: Tensor

    def __init__(self, crow: Tensor, col: Tensor, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("crow", crow, persistent=False)
        self.register_buffer("col", col, persistent=False)
        self.register_buffer("values", values, persistent=False)
        self._pair: tuple[Tensor, Tensor] | None = None

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The matrix and its transpose as CSR, made once per device and type."""
        if self._pair is None or self._pair[0].device != self.values.device or self._pair[0].dtype != self.values.dtype:
            shape = (len(self.crow) - 1,) * 2
            # torch says once per process that CSR is in beta; the two products used here are tested against dense ones.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(self.crow, self.col, self.values, shape, check_invariants=True)
            csc = matrix.to_sparse_csc()
            transposed = torch.sparse_csr_tensor(
                csc.ccol_indices(), csc.row_indices(), csc.values(), shape, check_invariants=True
            )
            self._pair = matrix, transposed
        return self._pair

    def forward(self, x_ID: Tensor) -> Tensor:
        """[I, D] -> [I, D], in the type of the matrix: its products are bound by memory, not by arithmetic."""
        matrix, transposed = self._matrices()
        with torch.autocast(x_ID.device.type, enabled=False):
            out: Tensor = _SparseProduct.apply(x_ID.to(matrix.dtype), matrix, transposed)
        return out


def neighbours(graph: Propagation, batch: Batch, item_count: int) -> Tensor:
    """How near all items are to each history: its items' rows of ``graph``, each over its distance to the target.

    Sequences are read at their last item, as at inference.

    Returns:
        [P, I] in the type of the matrix.
    """
    rows = batch.rows()
    distance = batch.positions.index_select(0, batch.predict).index_select(0, rows) - batch.positions + 1
    history = graph.values.new_zeros(item_count, len(batch.predict))
    history.index_put_((batch.items, rows), 1.0 / distance, accumulate=True)
    near: Tensor = graph(history).T
    return near


class _SparseProduct(Function):
    """matrix @ x; the matrix is constant, so that backward is one product with its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return _sliced(matrix, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _sliced(ctx.transposed, grad), None, None


def _sliced(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix @ x``; on the CPU in slices of columns, whose rows stay in the cache while they are gathered."""
    width = max(16, SLICE // max(1, len(x)))
    if x.device.type != "cpu" or width >= x.shape[1]:
        return matrix @ x.contiguous()
    out = x.new_empty(matrix.shape[0], x.shape[1])
    for begin in range(0, x.shape[1], width):
        out[:, begin : begin + width] = matrix @ x[:, begin : begin + width].contiguous()
    return out
