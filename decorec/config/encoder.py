"""Section of the transformer over a user's sequence, which several models have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from decorec.config.base import Section

__all__ = ["EncoderConfig"]


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
