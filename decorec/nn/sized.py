"""Tensors of a module whose shape is only known when the training part is."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

__all__ = ["SizedByTraining"]


class SizedByTraining(nn.Module):
    """A module that takes the shape of some of its tensors from a stored state, as it did from the training part."""

    sized: ClassVar[tuple[str, ...]] = ()
    """Names of these parameters and buffers."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.sized:
            own, found = getattr(self, name), state_dict.get(prefix + name)
            if found is not None and found.shape != own.shape:
                own.data = own.new_empty(found.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
