"""Sections of further models that are compared: the paper does not have them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from decorec.config.baselines import Transformer
from decorec.config.encoder import expect_divisible
from decorec.config.model_section import COMMON, MODAL, TRANSFORMER, ModelSection

__all__ = ["EsasrecConfig", "Gru4recConfig", "Hm4srConfig", "SasrecFeaturesConfig"]


class EsasrecConfig(ModelSection):
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


class Gru4recConfig(ModelSection):
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


class Hm4srConfig(Transformer):
    """HM4SR, corrected: ids, texts and pictures with mixtures of experts that read each other and the time."""

    space = {**TRANSFORMER, "model.auxiliary": [0.1, 1.0]}
    name: Literal["hm4sr"]
    experts: int = Field(4, ge=1, le=64)
    """Experts of each of the two mixtures."""
    auxiliary: float = Field(1.0, ge=0)
    """Weight of the two contrasts within a batch, of states with ids and of states with those whose texts and pictures
    are partly replaced by the time."""
    identity_temperature: float = Field(0.2, gt=0)
    """Temperature of the cosine between state and id in the first contrast."""
    replaced: float = Field(0.3, ge=0, lt=1)
    """Share of the history's items that the time replaces in the second contrast, rounded down."""

    @property
    def needs_times(self) -> bool:
        """Whether the model reads the time stamps of the interactions."""
        return True

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL
