"""Sections of the floors: rules and closed forms, without training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from decorec.config.model_section import MODAL, ModelSection

__all__ = [
    "ContentEaseConfig",
    "ContentKnnConfig",
    "EaseConfig",
    "Floor",
    "HybridKnnConfig",
    "ItemKnnConfig",
    "PopularityConfig",
    "VstanConfig",
]

WHOLE = 1_000_000
"""A length that no history reaches."""
DECAYS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
FeatureForm = Literal["raw", "centred", "whitened"]


class Floor(ModelSection):
    """A rule without training: no random number, so one seed stands for all."""

    seeded = False
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
    again; whitened: divided as well, in each direction of their covariance, by the root of a sum: its variance, and 0.1
    times the mean of these variances."""

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


class VstanConfig(Floor):
    """VSTAN: items of the users whose training sequences are most like the history. Keys turn parts off, down to STAN
    (``idf: 0, l_ipw: null``) and VSKNN (``l1: null, l2: null, l3: null, l_ipw: null``)."""

    space = {
        "model.neighbours": [100, 500],
        "model.l2": [None, 50.0, 200.0],
        "model.l3": [2.0, 10.0, None],
        "model.l_ipw": [10.0, None],
        "model.idf": [0.0, 2.0],
        "model.itself": [False, True],
    }
    name: Literal["vstan"]
    neighbours: int = Field(500, ge=1)
    """Number of most similar training sequences that are used (k)."""
    sample_size: int | None = Field(None, ge=1)
    """Only this many sequences that share an item with the history, those that ended last, are compared with it; null:
    all. For shops with very many users; needs time stamps."""
    similarity: Literal["cosine", "share"] = "cosine"
    """Of the common items, with the weights w of the history's items: cosine: sum of w / (root of the sum of all w^2,
    times root of the number of the sequence's items); share: sum of w / number of the history's items."""
    l1: float | None = Field(4.0, gt=0)
    """Weight w of an item of the history, d steps before the newest: exp(-d / l1); null: by ``position``."""
    position: Literal["linear", "div", "quadratic", "log", "same"] = "div"
    """Weight w with ``l1: null``, of the item at place l of n: 1 - 0.1 (n - l), not below 0; l / n; (l / n)^2;
    1 / log10(n - l + 1.7); 1."""
    l2: float | None = Field(None, gt=0)
    """A sequence that ended t days before the history's newest item counts exp(-t / l2), one that ended later 1; null:
    all count the same. Needs time stamps."""
    l3: float | None = Field(10.0, gt=0)
    """An item that stands d places from the sequence's last common item counts exp(-d / l3); null: all count the
    same."""
    l_ipw: float | None = Field(10.0, gt=0)
    """A sequence whose newest common item stands d steps before the newest of the history counts exp(-d / l_ipw); null:
    by ``decay``."""
    decay: Literal["div", "linear", "quadratic", "log", "same"] = "same"
    """The same with ``l_ipw: null``, for s = d + 1: 1 / s; 1 - 0.1 s, not below 0; 1 / s^2; 1 / log10(s + 1.7); 1."""
    idf: float = Field(2.0, ge=0)
    """Scores are multiplied by 1 + idf ln(sequences / sequences with the item)."""
    itself: bool = False
    """Whether an item of the history counts for its own score, as published. false: its score is what the other common
    items say, as in the other floors."""

    @property
    def needs_times(self) -> bool:
        """Whether the model reads the time stamps of the interactions."""
        return self.l2 is not None or self.sample_size is not None
