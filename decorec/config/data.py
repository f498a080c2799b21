"""Where data come from, how they are fetched and what is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from decorec.config.base import Section

__all__ = [
    "AmazonDataset",
    "AtomicDataset",
    "CrawlConfig",
    "Dataset",
    "DownloadConfig",
    "FilterConfig",
    "SampleDataset",
    "TableDataset",
]

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


class DownloadConfig(Section):
    """How large files are fetched."""

    attempts: int = Field(8, ge=1, le=100)
    """Connections in a row without progress before the step gives up; each resumes where the last one broke."""
    timeout: float = Field(30.0, gt=0)
    """Seconds without a byte before a connection counts as broken."""


class CrawlConfig(Section):
    """How pictures are fetched and stored."""

    concurrency: int = Field(16, ge=1, le=256)
    """Requests in flight over all hosts."""
    per_host: int = Field(8, ge=1, le=256)
    """Requests in flight to one host."""
    rate: float = Field(20.0, gt=0)
    """Requests per second to one host."""
    timeout: float = Field(10.0, gt=0)
    """Seconds without a byte before a request counts as timed out."""
    deadline: float = Field(30.0, gt=0)
    """Seconds for one URL, redirects, waits and retries of the same run included."""
    attempts: int = Field(4, ge=1, le=20)
    """Requests per URL and run before a transient failure is recorded."""
    max_bytes: int = Field(20_000_000, ge=1_000)
    """Largest body accepted, in bytes."""
    max_pixels: int = Field(64_000_000, ge=10_000)
    """Largest picture decoded, in pixels."""
    max_redirects: int = Field(5, ge=0, le=20)
    """Redirects followed per URL."""
    side: int = Field(256, ge=32, le=4_096)
    """Length of the shorter side of the stored picture, in pixels; smaller pictures are not enlarged."""
    user_agent: str = "decorec/0.1 (research crawler; set crawl.user_agent to your contact address)"
    """Sent with every request; name a way to reach you."""
    respect_robots: bool = True
    """Obey robots.txt and X-Robots-Tag opt-outs."""
    private_hosts: bool = False
    """Allow hosts that resolve to private or loopback addresses."""


class FilterConfig(Section):
    """Which interactions are kept."""

    kcore: int = Field(5, ge=3, le=1_000)
    """Least number of interactions per user and per item, to the fixed point; leave-one-out needs 3."""
    duplicates: Literal["exact", "pair"] = "exact"
    """Drop repeated (user, item, rating, timestamp) rows, or every repetition of a (user, item) pair."""
    require: list[Literal["text", "image"]] = ["text", "image"]
    """Modalities that an item must have."""
