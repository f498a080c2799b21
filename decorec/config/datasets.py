"""Where data come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from decorec.config.base import Section

__all__ = ["AmazonDataset", "AtomicDataset", "Dataset", "PaperDataset", "SampleDataset", "TableDataset"]

PaperDataset = Literal["Arts", "Instruments", "Office", "Pantry", "Scientific"]


class SampleDataset(Section):
    """The embedded sample shop: generated, then served on loopback and fetched over HTTP."""

    source: Literal["sample"]
    items: int = Field(240, ge=50, le=20_000)
    """Number of products generated."""
    users: int = Field(450, ge=50, le=200_000)
    """Number of customers generated."""
    seed: int = Field(0, ge=0)
    """Seed of the generator."""
    paper: None = None
    """The paper has no figures for this data set."""


class AmazonDataset(Section):
    """One category of the Amazon reviews of 2018 or 2023."""

    source: Literal["amazon2018", "amazon2023"]
    category: str
    """Category as the file names spell it, e.g. Industrial_and_Scientific."""
    reviews: Literal["full", "5-core"] = "full"
    """All ratings of the category (as in the paper, which filters by itself), or the publisher's 5-core (2018 only)."""
    base_url: str | None = None
    """Mirror or local copy in place of the official server: http, https or file URL; file:path may be relative."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""


class TableDataset(Section):
    """The user's own tables (csv or parquet): interactions (user, item, timestamp[, rating]) and items."""

    source: Literal["table"]
    path: str
    """Folder of the files; relative to the working directory."""
    interactions: str = "interactions.csv"
    """File of interactions, relative to path: columns user, item, timestamp (seconds), optionally rating."""
    items: str = "items.csv"
    """File of items, relative to path: columns item, optionally title, brand, category, description, image."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""


class AtomicDataset(Section):
    """Files in the RecBole / UniSRec / MISSRec layout, with given splits and features."""

    source: Literal["atomic"]
    path: str
    """Folder of the files; relative to the working directory."""
    name: str
    """Stem of the files: <name>.train.inter, <name>.feat1CLS, ..."""
    width: int = Field(512, ge=1)
    """Width of the feature rows."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""


Dataset = Annotated[SampleDataset | AmazonDataset | TableDataset | AtomicDataset, Field(discriminator="source")]
