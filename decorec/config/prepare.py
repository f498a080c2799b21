"""Sections of the filter, the split, the co-occurrence graph and the interests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from decorec.config.base import Distinct, Section

__all__ = ["FilterConfig", "GraphConfig", "InterestsConfig", "Normalisation", "SplitConfig"]

Normalisation = Literal["symmetric", "row", "released"]


class FilterConfig(Section):
    """Filter of interactions."""

    kcore: int = Field(5, ge=3, le=1_000)
    """Least number of interactions per user and per item, applied until nothing changes; leave-one-out needs 3."""
    duplicates: Literal["exact", "pair"] = "exact"
    """exact: drop repeated rows of user, item, rating and timestamp; pair: drop every repetition of a user and item."""
    least_rating: float | None = Field(None, allow_inf_nan=False, exclude_if=lambda least: least is None)
    """Interactions with a lower rating do not count, as if they were not there, nor do those whose rating is not known;
    also in the histories that lists are made from. null: all count, whatever the rating. Not written if null, so that
    the tracked values of a data set are the same as before the key existed."""
    require: Distinct[Literal["text", "image"]] = ["text", "image"]
    """Modalities that an item must have."""


class SplitConfig(Section):
    """Which interactions are for training, validation and test."""

    protocol: Literal["leave-one-out", "temporal"] = "leave-one-out"
    """leave-one-out: the last item of a user is the test target, the one before it the validation target. temporal: the
    first items after one point in time for all users; nothing after the point of validation is trained on."""
    quantile: float = Field(0.9, gt=0, lt=1)
    """Share of the interactions before the point of the test, and of these before the point of validation. With
    leave-one-out it only counts in the table of statistics, which says what lies before that point."""


class GraphConfig(Section):
    """Co-occurrence of items in training sequences (eq. 1)."""

    distance: Literal["1/D", "1/(D+1)", "1"] = "1/D"
    """Weight of a pair of positions at distance D; the released matrix uses 1/(D+1); 1 counts pairs."""
    window: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Largest distance that counts."""
    top: int | None = Field(None, ge=1, exclude_if=lambda top: top is None)
    """How many neighbours of an item are kept: those with the largest entries, of equal ones the first in the order of
    the items. An entry stays if it is kept for one of its two items, so that the matrix is symmetric; a popular item
    may have more neighbours. null: all. Not written if null, so that the tracked values of a run are the same as before
    the key existed."""


class InterestsConfig(Section):
    """Clusters of enriched raw features (eq. 3 to 5)."""

    ratio: float = Field(0.1, gt=0, le=1)
    """Number of clusters per item, in each modality. Up to 2^29 pairs of an item and a cluster (73,271 items at 0.1)
    k-means compares all pairs; beyond, it makes about as many groups as the square root of the number of clusters, and
    the clusters within each group."""
    seed: int = Field(0, ge=0)
    """Seed of k-means."""
    normalisation: Normalisation = "symmetric"
    """Normalisation of the co-occurrence matrix for the enrichment of the clustered features."""
    gate: float = Field(0.5, ge=0, le=1)
    """Strength of one hop in the enrichment of the clustered features."""
    layers: int = Field(1, ge=0, le=4)
    """Number of hops in the enrichment of the clustered features."""
    assign: Literal["kmeans", "nearest"] = Field("kmeans", exclude_if=lambda assign: assign == "kmeans")
    """The cluster of an item (eq. 5): kmeans: the one that its enriched features have from k-means; nearest: the one
    whose centroid is nearest to its raw features, as the equation literally says. Not written if kmeans, so that the
    tracked values of a run are the same as before the key existed."""
