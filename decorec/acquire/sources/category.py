"""Sources amazon2018 and amazon2023, and the sample shop, which has the format of 2018: one category as downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from decorec.acquire.sources.metadata import item_row, read_metadata
from decorec.acquire.sources.reviews import AmazonFormat, read_reviews
from decorec.acquire.sources.source import Metadata, Row, Source
from decorec.config.datasets import AmazonDataset, SampleDataset
from decorec.data.interactions import Account, Interactions
from decorec.errors import DecorecError

__all__ = ["opened"]


def opened(dataset: AmazonDataset | SampleDataset, reviews: Path | None, meta: Path | None) -> Source:
    """The category in the two files.

    Raises:
        DecorecError: one of the files is not given.
    """
    if reviews is None or meta is None:
        raise DecorecError(
            f"ingest: expected --reviews and --meta for the source {dataset.source!r}, found --reviews {reviews} and "
            f"--meta {meta}; give both files"
        )
    return _Category(
        reviews, meta, "amazon2023" if dataset.source == "amazon2023" else "amazon2018", dataset.unreadable
    )


@dataclass(frozen=True)
class _Category(Source):
    reviews: Path
    meta: Path
    format: AmazonFormat
    unreadable: float

    @property
    def row(self) -> Row:
        return item_row

    @property
    def interactions_origin(self) -> str:
        return str(self.reviews)

    @property
    def items_origin(self) -> str:
        return str(self.meta)

    def read_interactions(self) -> tuple[Interactions, Account]:
        return read_reviews(self.reviews, self.format)

    def read_items(self, wanted: pl.Series) -> Metadata:
        return read_metadata(self.meta, self.format, wanted)
