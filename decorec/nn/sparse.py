"""Products with a constant sparse matrix over the items, and sparse gradients of item rows.

Shapes: M modalities, I items, T tokens, P predictions, D width.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from decorec.data.batches import Batch

__all__ = ["Propagation", "neighbours", "rows_of", "weighted_histories"]

SLICE = 1 << 18
"""Elements of the dense factor of a sparse product that are used at a time (1 MB in float32)."""


def rows_of(representations: Tensor, items: Tensor) -> Tensor:
    """Representations of the batch's items, [M, I, D] and [T] -> [M, T, D].

    The gradient is sparse. It is added to that of the loss, so that no second array of the size of all representations
    is needed.
    """
    rows: Tensor = _Rows.apply(representations, items)
    return rows


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, representations: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(items)
        ctx.shape = representations.shape
        return representations.index_select(1, items)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (items,) = ctx.saved_tensors
        modality = torch.arange(len(grad), device=grad.device).repeat_interleave(len(items))
        index = torch.stack([modality, items.repeat(len(grad))])
        sparse = torch.sparse_coo_tensor(index, grad.reshape(len(index[0]), -1), ctx.shape, check_invariants=False)
        return sparse, None


class Propagation(nn.Module):
    """Product of a constant sparse [I, I] matrix with dense [I, D] matrices."""

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
            # torch warns that CSR is in beta; the two products used here are tested against dense ones.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(self.crow, self.col, self.values, shape, check_invariants=True)
            csc = matrix.to_sparse_csc()
            transposed = torch.sparse_csr_tensor(
                csc.ccol_indices(), csc.row_indices(), csc.values(), shape, check_invariants=True
            )
            self._pair = matrix, transposed
        return self._pair

    def forward(self, x: Tensor) -> Tensor:
        """[I, D] -> [I, D], in the type of the matrix, because memory, not arithmetic, limits the speed."""
        matrix, transposed = self._matrices()
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = _SparseProduct.apply(x.to(matrix.dtype), matrix, transposed)
        return out

    def sum_of_rows(self, weights: Tensor) -> Tensor:
        """The rows of the matrix, summed with ``weights`` [I, P] -> [I, P]; ``forward`` sums its columns."""
        matrix, transposed = self._matrices()
        with torch.autocast(weights.device.type, enabled=False):
            out: Tensor = _SparseProduct.apply(weights.to(matrix.dtype), transposed, matrix)
        return out


def weighted_histories(batch: Batch, item_count: int, decay: float) -> Tensor:
    """How much each item of a history counts: d^-decay, where d is its distance to the target (1: the newest item).

    Repeats add up, except with a decay of 0: then the history is a set, and an item of it counts 1. There is one
    prediction per sequence, after its last item, as at inference.

    Returns:
        [I, P] float32.
    """
    rows = batch.rows()
    distance = batch.positions.index_select(0, batch.predict).index_select(0, rows) - batch.positions + 1
    history = torch.zeros(item_count, len(batch.predict), device=batch.items.device)
    history.index_put_((batch.items, rows), distance.float().pow(-decay), accumulate=True)
    return history if decay else history.clamp_max_(1)


def neighbours(graph: Propagation, batch: Batch, item_count: int, decay: float = 1.0) -> Tensor:
    """How near all items are to each history: the sum of its rows of ``graph``, weighted by ``weighted_histories``.

    Returns:
        [P, I] in the type of the matrix.
    """
    return graph.sum_of_rows(weighted_histories(batch, item_count, decay)).T


class _SparseProduct(Function):
    """matrix @ x; the matrix is constant, so backward is one product with its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return _sliced(matrix, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _sliced(ctx.transposed, grad), None, None


def _sliced(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix @ x``; on the CPU in slices of columns, so that the rows stay in the cache while they are read."""
    width = max(16, SLICE // max(1, len(x)))
    if x.device.type != "cpu" or width >= x.shape[1]:
        return matrix @ x.contiguous()
    out = x.new_empty(matrix.shape[0], x.shape[1])
    for begin in range(0, x.shape[1], width):
        out[:, begin : begin + width] = matrix @ x[:, begin : begin + width].contiguous()
    return out
