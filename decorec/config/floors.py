"""Sections of the floors: rules and closed forms, without training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from decorec.config.baselines import MODAL, OneStage

__all__ = [
    "ContentEaseConfig",
    "ContentKnnConfig",
    "EaseConfig",
    "Floor",
    "HybridKnnConfig",
    "ItemKnnConfig",
    "PopularityConfig",
]

WHOLE = 1_000_000
"""A length that no history reaches."""
DECAYS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
FeatureForm = Literal["raw", "centred", "whitened"]


class Floor(OneStage):
    """A rule without training: no random number, so one seed stands for all."""

    seeded: ClassVar[bool] = False
    length: int = Field(WHOLE, ge=1, le=WHOLE)
    """Number of latest items of the history that are used; by default all of them."""


class PopularityConfig(Floor):
    """Items by their number of training interactions, the same for every user."""

    name: Literal["popularity"]


class WithHistory(Floor):
    """A floor that adds what the items of the history say."""

    decay: float = Field(0.5, ge=0, le=10)
    """Weight of an item of the history: d^-decay, where d is its distance to the target (1: the newest item). Repeats
    add up. 0: the history is a set, in which every item counts once."""


class ItemKnnConfig(WithHistory):
    """Items by their co-occurrence with the user's items."""

    space = {"model.decay": DECAYS, "model.normalisation": ["symmetric", "row"]}
    name: Literal["item-knn"]
    decay: float = Field(1.0, ge=0, le=10)
    """Weight of an item of the history: d^-decay, where d is its distance to the target (1: the newest item). Repeats
    add up. 0: the history is a set, in which every item counts once."""
    normalisation: Literal["symmetric", "row"] = "symmetric"
    """Normalisation of the co-occurrence matrix; row: what an item of the history gives sums to 1."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return ("graph",)


class ContentKnnConfig(WithHistory):
    """Items by their similarity to the user's items, in text and picture."""

    space = {"model.decay": DECAYS, "model.features": ["raw", "centred", "whitened"]}
    name: Literal["content-knn"]
    features: FeatureForm = "whitened"
    """raw: the rows of text and picture, each of length 1; centred: without the mean of these rows, then of length 1
    again; whitened: with equal variance in all directions as well."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL


class HybridKnnConfig(WithHistory):
    """item-knn and content-knn, each divided by its largest score for the user."""

    space = {
        "model.decay": [0.0, 0.5, 1.0],
        "model.weight": [0.25, 0.5, 0.75],
        "model.features": ["raw", "centred", "whitened"],
        "model.normalisation": ["symmetric", "row"],
    }
    name: Literal["hybrid-knn"]
    weight: float = Field(0.5, ge=0, le=1)
    """Weight of the co-occurrence; the rest is that of text and picture."""
    features: FeatureForm = "whitened"
    """As for content-knn."""
    normalisation: Literal["symmetric", "row"] = "symmetric"
    """Normalisation of the co-occurrence matrix; row: what an item of the history gives sums to 1."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return ("graph", *MODAL)


class EaseConfig(WithHistory):
    """EASE: each item predicted from all others by ridge regression over the training users."""

    space = {"model.ridge": [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0], "model.decay": DECAYS}
    name: Literal["ease"]
    ridge: float = Field(200.0, gt=0)
    """Weight of the squared coefficients, in users."""
    neighbours: int | None = Field(None, ge=1)
    """An item is scored by this many others alone, those with the largest G_ij / sqrt(G_ii G_jj), where G_ij users have
    both. null: by all others, exactly; for I items this takes 16 I^2 bytes and is refused above 20,000 items."""


class ContentEaseConfig(WithHistory):
    """EASE that also knows text and picture of the items."""

    space = {
        "model.ridge": [50.0, 100.0, 200.0],
        "model.weight": [0.25, 0.5, 1.0],
        "model.feature_ridge": [1.0, 10.0],
        "model.decay": [0.0, 0.5, 1.0],
    }
    name: Literal["content-ease"]
    ridge: float = Field(200.0, gt=0)
    """Weight of the squared coefficients, in users; with ``side: prior`` of both, towards 0 and towards the prior."""
    side: Literal["gram", "prior", "additive"] = "prior"
    """How text and picture enter. gram: their values are more rows beside the users (CEASE). prior: coefficients from
    text and picture are what the ridge pulls towards (L3AE). additive: these coefficients are added (Add-EASE)."""
    weight: float = Field(0.25, ge=0)
    """gram: weight of a row of features, where that of a user is 1. prior: share of the ridge that pulls towards the
    prior; more than 1 is possible. additive: factor of what is added."""
    features: FeatureForm = "raw"
    """As for content-knn."""
    feature_ridge: float | None = Field(1.0, gt=0)
    """Coefficients from text and picture are those of EASE on them with this ridge; null: the cosines themselves. Not
    used with ``side: gram``."""
    neighbours: int | None = Field(None, ge=1)
    """As for ease; as many more are those with the largest cosines in text and picture."""

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return MODAL
