"""Sections of the models that DeCoRec is compared with."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from decorec.config.encoder import EncoderConfig, expect_divisible
from decorec.config.model_section import COMMON, MODAL, TRANSFORMER, ModelSection

__all__ = [
    "Bert4recConfig",
    "DimoConfig",
    "MissrecConfig",
    "MmmlpConfig",
    "SasrecConfig",
    "UnisrecConfig",
]


class Transformer(ModelSection):
    """A model with a transformer over the user's sequence."""

    dim: int = Field(300, ge=4)
    """Width of item representations (d)."""
    encoder: EncoderConfig = EncoderConfig(layers=2, heads=2, positions="learned")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        expect_divisible(self.dim, self.encoder.heads, "model.encoder.heads")
        return self

    @property
    def length(self) -> int:
        """Number of latest items of the history that the model uses."""
        return self.encoder.length


class SasrecConfig(Transformer):
    """SASRec with full cross-entropy."""

    space = TRANSFORMER
    name: Literal["sasrec"]


class Bert4recConfig(Transformer):
    """BERT4Rec with full cross-entropy."""

    space = {**TRANSFORMER, "model.mask": [0.2, 0.4, 0.6]}
    reads_prefixes = True
    name: Literal["bert4rec"]
    mask: float = Field(0.4, gt=0, le=1)
    """Probability that an item is masked in training (rho)."""
    mask_last: float = Field(0.5, ge=0, le=1)
    """Share of training sequences in which only the last item is masked."""
    passes: int = Field(5, ge=1)
    """Passes over the users in one epoch, each with new masks: one pass has far fewer predictions than one row per
    prefix, and patience counts epochs."""


class UnisrecConfig(Transformer):
    """UniSRec from scratch, transductive: text and ids."""

    space = {**TRANSFORMER, "model.adaptor_dropout": [0.0, 0.2]}
    name: Literal["unisrec"]
    ids: bool = True
    """Add item ids to the adapted texts."""
    experts: int = Field(8, ge=1, le=64)
    """Experts of the adaptor."""
    adaptor_dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout of the text features before the experts."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of the cosine between sequence and item."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return ("features.text",)


class MissrecConfig(ModelSection):
    """MISSRec from scratch: text, picture and ids."""

    space = {
        **COMMON,
        "model.dropout": [0.2, 0.5],
        "model.positions": ["none", "learned"],
        "model.interest_ratio": [0.1, 0.5],
    }
    reads_prefixes = True
    name: Literal["missrec"]
    dim: int = Field(300, ge=4)
    """Width of item representations (d)."""
    ids: bool = True
    """Add item ids to the adapted modalities."""
    heads: int = Field(4, ge=1, le=32)
    """Attention heads."""
    feed_forward: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of input, hidden states and attention."""
    positions: Literal["none", "learned"] = "learned"
    """Position embeddings of the decoder, counted from the oldest item of the window."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L)."""
    interest_ratio: float = Field(0.5, gt=0, le=1)
    """Number of clusters divided by the number of vectors (text and picture of every item)."""
    lloyd_steps: int = Field(1, ge=1, le=50)
    """Steps of k-means before each epoch, from random vectors."""
    interest_weight: float = Field(1e-4, ge=0)
    """Weight of the energy of a sequence's summed interests (gamma)."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of the cosine between sequence and item."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        expect_divisible(self.dim, self.heads, "model.heads")
        return self

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL


class MmmlpConfig(ModelSection):
    """MMMLP over features of a frozen encoder."""

    space = {
        **COMMON,
        "model.dropout": [0.2, 0.5],
        "model.padding": ["right", "left"],
        "model.rounds": [1, 2],
        "model.fusion": ["linear", "mixer"],
    }
    reads_prefixes = True
    name: Literal["mmmlp"]
    dim: int = Field(128, ge=4)
    """Width of item representations (d)."""
    rounds: int = Field(1, ge=1, le=8)
    """Rounds of sequence and channel mixing, with the same weights each time."""
    sequence_hidden: int = Field(200, ge=1)
    """Hidden width of sequence mixing."""
    fusion: Literal["linear", "mixer"] = "linear"
    """linear: concatenation, normalisation, one linear layer; mixer: the same after one more round of mixing."""
    padding: Literal["right", "left"] = "right"
    """Side of the empty slots of a short sequence."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of hidden and output layers of the mixers."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L): the slots that are mixed."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL


class DimoConfig(ModelSection):
    """DIMO, corrected, over features of a frozen encoder."""

    differences = {"graph": {"distance": "1"}}
    space = {**COMMON, "model.dropout": [0.3, 0.5], "model.auxiliary": [1e-4, 1e-3]}
    reads_prefixes = True
    name: Literal["dimo"]
    dim: int = Field(100, ge=4)
    """Width of ids and of modal embeddings."""
    layers: int = Field(4, ge=0, le=8)
    """Hops over the co-occurrence matrix."""
    normalisation: Literal["row"] = "row"
    """Normalisation of the co-occurrence matrix."""
    heads: int = Field(4, ge=1, le=32)
    """Attention heads."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of the embeddings before the hops."""
    attention_dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout of the attention."""
    neighbours: int = Field(10, ge=1)
    """Number of most co-occurring items, and of items that never co-occur, per item in the auxiliary losses."""
    feature_deviation: float = Field(0.05, gt=0)
    """Root mean square of each item's initial modal embedding; that of the ids is 0.058."""
    auxiliary: float = Field(1e-3, ge=0)
    """Weight of the three auxiliary losses (lambda)."""
    length: int = Field(50, ge=1, le=1_000)
    """Number of latest items of the history that the model uses (L)."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        expect_divisible(self.dim, self.heads, "model.heads")
        return self

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return (*MODAL, "graph")
