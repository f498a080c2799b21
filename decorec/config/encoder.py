"""Section of the transformer over a user's sequence, which several models have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from decorec.config.base import Section

__all__ = ["EncoderConfig", "expect_divisible"]


class EncoderConfig(Section):
    """The transformer over a user's sequence."""

    layers: int = Field(1, ge=1, le=12)
    """Number of transformer layers."""
    heads: int = Field(4, ge=1, le=32)
    """Attention heads."""
    feed_forward: int = Field(256, ge=1)
    """Width of the feed-forward layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of input, hidden states and attention."""
    positions: Literal["none", "learned"] = "none"
    """Position embeddings, counted from the oldest item of the window."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L)."""


def expect_divisible(dim: int, heads: int, key: str) -> None:
    """Refuse a width that the heads cannot share.

    Args:
        dim: model.dim.
        heads: number of attention heads.
        key: the key of the heads, for messages.

    Raises:
        ValueError: ``dim`` is no multiple of ``heads``.
    """
    below = dim - dim % heads
    if below != dim:
        raise ValueError(
            f"model.dim is {dim}, expected a multiple of {key}, found {heads} heads; write {below or heads} or "
            f"{below + heads}, or another number of heads"
        )
