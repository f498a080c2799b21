"""Products with a constant sparse matrix over the items, and sparse gradients of item rows.

Shapes: M modalities, I items, N some of them, T tokens, P predictions, D width.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from decorec.data.batches import Batch
from decorec.nn.division import Division, total_of

__all__ = ["Propagation", "neighbours", "rows_of", "rows_of_all", "table_rows", "weighted_histories"]

SLICE = 1 << 18
"""Elements of the dense factor of a sparse product that are used at a time (1 MB in float32)."""


def rows_of(representations: Tensor, items: Tensor) -> Tensor:
    """Representations of the batch's items, [M, I, D] and [T] -> [M, T, D].

    On the processor the gradient is sparse. It is added to that of the loss, so that no second array of the size of all
    representations is needed. On a GPU, torch adds a sparse gradient only after the GPU has done all work before it.
    """
    rows: Tensor = _Rows.apply(representations, items)
    return rows


def rows_of_all(representations: Tensor, items: Tensor, division: Division) -> Tensor:
    """Representations of some items [U], each from the process that has it, [M, N, D] -> [M, U, D]; the same in all."""
    places = division.local(items)
    own = rows_of(representations, places.clamp_min(0))
    return total_of(own.masked_fill((places < 0)[:, None], 0), division)


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, representations: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(items)
        ctx.shape = representations.shape
        return representations.index_select(1, items)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (items,) = ctx.saved_tensors
        if grad.device.type != "cpu":
            return grad.new_zeros(ctx.shape).index_add_(1, items, grad), None
        modality = torch.arange(len(grad), device=grad.device).repeat_interleave(len(items))
        index = torch.stack([modality, items.repeat(len(grad))])
        sparse = torch.sparse_coo_tensor(index, grad.reshape(len(index[0]), -1), ctx.shape, check_invariants=False)
        return sparse, None


def table_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a parameter, [N, D]; its gradient is sparse, so that a step costs what these rows cost."""
    return functional.embedding(rows, table, sparse=True)


class Propagation(nn.Module):
    """Product of a constant sparse [I, I] matrix with dense [I, D] matrices."""

    crow: Tensor
    col: Tensor
    values: Tensor

    def __init__(self, crow: Tensor, col: Tensor, values: Tensor, columns: int | None = None) -> None:
        super().__init__()
        self._shape = len(crow) - 1, len(crow) - 1 if columns is None else columns
        self.register_buffer("crow", crow, persistent=False)
        self.register_buffer("col", col, persistent=False)
        self.register_buffer("values", values, persistent=False)
        self._pair: tuple[Tensor, Tensor] | None = None
        self._divided: tuple[Division, Propagation] | None = None

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The matrix and its transpose as CSR, made once per device and type."""
        if self._pair is None or self._pair[0].device != self.values.device or self._pair[0].dtype != self.values.dtype:
            # torch warns that CSR is in beta; the two products used here are tested against dense ones.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(self.crow, self.col, self.values, self._shape, check_invariants=True)
            csc = matrix.to_sparse_csc()
            transposed = torch.sparse_csr_tensor(
                csc.ccol_indices(), csc.row_indices(), csc.values(), self._shape[::-1], check_invariants=True
            )
            self._pair = matrix, transposed
        return self._pair

    def forward(self, x: Tensor) -> Tensor:
        """[I, D] -> [I, D], in the type of the matrix, because memory, not arithmetic, limits the speed."""
        matrix, transposed = self._matrices()
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = _SparseProduct.apply(x.to(matrix.dtype), matrix, transposed)
        return out

    def around(self, items: Tensor, hops: int) -> tuple[Tensor, Propagation]:
        """The part of the matrix that ``hops`` products read for the rows of some items.

        Args:
            items: [N] int64, ascending.
            hops: number of products that follow each other, at least 1.

        Returns:
            around [N + others] int64: ``items``, then those within ``hops`` of them; and the matrix over these. After
            up to ``hops`` products the first N rows are those that the whole matrix gives; the others are not.
        """
        around, begin, columns, counts = items, 0, [], []
        for _ in range(hops):
            ring = around[begin:]
            start, stop = self.crow.index_select(0, ring).long(), self.crow.index_select(0, ring + 1).long()
            count = stop - start
            before = torch.cumsum(count, 0) - count
            places = torch.arange(int(count.sum()), device=ring.device)
            places += torch.repeat_interleave(start - before, count)
            columns.append(places)
            counts.append(count)
            begin = len(around)
            near = torch.unique(self.col.index_select(0, places).long())
            known = torch.sort(around).values
            found = known[torch.searchsorted(known, near).clamp_(max=len(known) - 1)] == near
            around = torch.cat([around, near[~found]])
        places, count = torch.cat(columns), torch.cat(counts)
        known, order = torch.sort(around)
        crow = torch.zeros(len(around) + 1, dtype=torch.int64, device=items.device)
        crow[1 : len(count) + 1] = torch.cumsum(count, 0)
        crow[len(count) + 1 :] = len(places)
        col = order[torch.searchsorted(known, self.col.index_select(0, places).long())]
        return around, Propagation(crow, *_sorted(crow, col, self.values.index_select(0, places)))

    def divided(self, division: Division) -> Propagation:
        """The same product in several processes, of which each has its rows of ``x`` and computes those of the result.

        A step of a training makes it again and again: it is kept.
        """
        if self._divided is None or self._divided[0] != division:
            self._divided = division, _DividedPropagation(self, division)
        return self._divided[1]

    def sum_of_rows(self, weights: Tensor) -> Tensor:
        """The rows of the matrix, summed with ``weights`` [I, P] -> [I, P]; ``forward`` sums its columns."""
        matrix, transposed = self._matrices()
        with torch.autocast(weights.device.type, enabled=False):
            out: Tensor = _SparseProduct.apply(weights.to(matrix.dtype), transposed, matrix)
        return out


class _DividedPropagation(Propagation):
    """The rows of a matrix that are one process's."""

    def __init__(self, whole: Propagation, division: Division) -> None:
        own = division.items
        begin, end = whole.crow[[own.start, own.stop]].tolist()
        crow = whole.crow[own.start : own.stop + 1] - begin
        super().__init__(crow, whole.col[begin:end], whole.values[begin:end], division.item_count)
        self.division = division

    def forward(self, x: Tensor) -> Tensor:
        """[N, D] -> [N, D]; the rows of the other processes come from these."""
        own = self.division.items
        around = (0, 0, own.start, self.division.item_count - own.stop)
        return super().forward(total_of(functional.pad(x.to(self.values.dtype), around), self.division))


def _sorted(crow: Tensor, col: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Columns in ascending order within each row, and the values with them."""
    row = torch.repeat_interleave(torch.arange(len(crow) - 1, device=crow.device), crow.diff())
    order = torch.argsort(row * (len(crow) - 1) + col)
    return col[order], values[order]


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
