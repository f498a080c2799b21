"""Constant data about the items that a model uses; part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["ItemData", "MappedRows"]


@dataclass(frozen=True)
class MappedRows:
    """Features that stay in their file."""

    x: Tensor
    """[rows, F] float32 or float16, in the order of the file, memory-mapped."""
    rows: Tensor
    """[I] int64: the row of each item."""
    path: Path
    digest: str
    """Of the file (see ``decorec.artifacts.seal``)."""


class ItemData(nn.Module):
    """Constant tensors over the I items, as buffers.

    Names: ``features.<modality>`` [I, F] float32, ``present.<modality>`` [I] bool, ``interests.<modality>`` [I]
    int64, ``centroids.<modality>`` [K, F] float32 of these interests, ``graph.crow`` [I + 1], ``graph.col`` [nnz],
    ``graph.values`` [nnz]: the normalised co-occurrence in CSR.

    Features of a large catalogue can stay in their file, ``mapped`` by the same name: ``rows`` reads those of some
    items, and a whole tensor is made anew every time that it is asked for.
    """

    _place: Tensor

    def __init__(
        self, item_count: int, tensors: Mapping[str, Tensor], mapped: Mapping[str, MappedRows] | None = None
    ) -> None:
        super().__init__()
        self.item_count = item_count
        self._names = {name: name.replace(".", "_") for name in tensors}
        for name, tensor in tensors.items():
            self.register_buffer(self._names[name], tensor)
        self.mapped = dict(mapped or {})
        for name, file in self.mapped.items():
            self._names[name] = name.replace(".", "_")
            self.register_buffer(self._names[name], file.x)
            self.register_buffer(f"{self._names[name]}_rows", file.rows)
        # Models over ids alone have no tensor here; this one moves with them all the same.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        if name in self.mapped:
            return self.rows(name, torch.arange(self.item_count, device=self.device))
        tensor: Tensor = getattr(self, self._names[name])
        return tensor

    def rows(self, name: str, items: Tensor | slice) -> Tensor:
        """Rows of some items [N] of a tensor over the items; of a slice, without a copy where they are in memory."""
        if name not in self.mapped:
            return _taken(self[name], items)
        tensor: Tensor = getattr(self, self._names[name])
        places: Tensor = getattr(self, f"{self._names[name]}_rows")
        found = tensor.index_select(0, _taken(places, items))
        found = found.float() if found.dtype == torch.float16 else found
        present = _taken(self[f"present.{name.partition('.')[2]}"], items)
        return found.masked_fill_(~present[:, None], 0)

    def width(self, name: str) -> int:
        """F of a tensor [I, F]."""
        tensor: Tensor = getattr(self, self._names[name])
        return tensor.shape[1]

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self._names)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {name: self[name] for name in self._names}

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._place.device


def _taken(x: Tensor, items: Tensor | slice) -> Tensor:
    return x[items] if isinstance(items, slice) else x.index_select(0, items)
