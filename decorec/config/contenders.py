"""Sections of further models that are compared: the paper does not have them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from decorec.config.baselines import COMMON, MODAL, TRANSFORMER, OneStage, Transformer
from decorec.config.encoder import expect_divisible

__all__ = ["EsasrecConfig", "Gru4recConfig", "SasrecFeaturesConfig"]


class EsasrecConfig(OneStage):
    """eSASRec: SASRec with LiGR layers, full cross-entropy."""

    space = {
        **COMMON,
        "model.dropout": [0.2, 0.5],
        "model.layers": [1, 2],
        "model.positions": ["none", "learned"],
        "model.expansion": [1, 4],
    }
    name: Literal["esasrec"]
    dim: int = Field(300, ge=4)
    """Width of item representations (d)."""
    layers: int = Field(2, ge=1, le=12)
    """Number of LiGR layers."""
    heads: int = Field(2, ge=1, le=32)
    """Attention heads."""
    expansion: int = Field(4, ge=1, le=16)
    """Width of the feed-forward layers in units of d (m)."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout of input, hidden states and attention."""
    positions: Literal["none", "learned"] = "learned"
    """Position embeddings, counted from the oldest item of the window."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L)."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        expect_divisible(self.dim, self.heads, "model.heads")
        return self


class Gru4recConfig(OneStage):
    """GRU4Rec, re-implemented: full cross-entropy after every item, back-propagation through the whole window."""

    space = {
        **COMMON,
        "train.learning_rate": [3e-4, 1e-3, 3e-3],
        "model.dropout": [0.2, 0.5],
        "model.layers": [1, 2],
    }
    name: Literal["gru4rec"]
    dim: int = Field(300, ge=4)
    """Width of item representations and of the recurrent state (d)."""
    layers: int = Field(1, ge=1, le=4)
    """Number of GRU layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of the input, and of the states after every layer."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L)."""


class SasrecFeaturesConfig(Transformer):
    """SASRec whose items are ids, texts and pictures together."""

    space = {**TRANSFORMER, "model.feature_norm": ["raw", "unit"]}
    name: Literal["sasrec-features"]
    fusion: Literal["sum", "concat"] = "sum"
    """sum: the id plus linear maps of text and picture; concat: one linear layer over the three side by side."""
    sides: Literal["both", "history"] = "both"
    """Where features count: in history and candidates, or in the history alone (candidates are ids)."""
    feature_norm: Literal["raw", "unit"] = "raw"
    """raw: features as the encoder gives them; unit: scaled to length 1."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL
