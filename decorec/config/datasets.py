"""Where data come from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from decorec.config.base import Section

__all__ = ["AmazonDataset", "AtomicDataset", "Dataset", "Modality", "PaperDataset", "SampleDataset", "TableDataset"]

PaperDataset = Literal["Arts", "Instruments", "Office", "Pantry", "Scientific"]
MODALITY = r"^[a-z][a-z0-9-]*$"
Modality = Annotated[str, Field(pattern=MODALITY)]
"""Name of a kind of features: text, image, or one of the user's own."""
GIVEN = {"text": "feat1CLS", "image": "feat3CLS"}
"""Endings of the feature files that an atomic data set has unless it says otherwise."""


class SampleDataset(Section):
    """The embedded sample shop: generated, then served on loopback and fetched over HTTP."""

    modalities: ClassVar[tuple[str, ...]] = ("text", "image")
    """Names of the modalities that items have features of."""

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

    modalities: ClassVar[tuple[str, ...]] = ("text", "image")
    """Names of the modalities that items have features of."""

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

    modalities: ClassVar[tuple[str, ...]] = ("text", "image")
    """Names of the modalities that items have features of."""

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
    features: dict[Modality, str] = GIVEN
    """Modality -> ending of its file of raw float32 rows, in the order of .item2index. text (feat1CLS) and image (feat3CLS)
    need not be named; any other modality is one more line."""
    width: int | dict[Modality, Annotated[int, Field(ge=1)]] = Field(512, ge=1)
    """Values of a feature row: one number for all modalities, or one for each."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""

    @field_validator("features", mode="before")
    @classmethod
    def _with_given(cls, value: Any) -> Any:
        return GIVEN | value if isinstance(value, dict) else value

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that items have features of."""
        return tuple(self.features)

    def width_of(self, modality: str) -> int:
        """Values of a feature row of ``modality``."""
        return self.width if isinstance(self.width, int) else self.width.get(modality, 512)


Dataset = Annotated[SampleDataset | AmazonDataset | TableDataset | AtomicDataset, Field(discriminator="source")]
