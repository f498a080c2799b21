"""Constant data about the items that a model uses; part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["ItemData"]


class ItemData(nn.Module):
    """Constant tensors over the I items, as buffers.

    Names: ``features.<modality>`` [I, F] float32, ``present.<modality>`` [I] bool, ``interests.<modality>`` [I]
    int64, ``centroids.<modality>`` [K, F] float32 of these interests, ``graph.crow`` [I + 1], ``graph.col`` [nnz],
    ``graph.values`` [nnz]: the normalised co-occurrence in CSR.
    """

    _place: Tensor

    def __init__(self, item_count: int, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.item_count = item_count
        self._names = {name: name.replace(".", "_") for name in tensors}
        for name, tensor in tensors.items():
            self.register_buffer(self._names[name], tensor)
        # Models over ids alone have no tensor here; this one moves with them all the same.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, self._names[name])
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {name: self[name] for name in self._names}

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._place.device
