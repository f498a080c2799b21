"""The sources by name. They are not imported here, so that a data set depends only on the code of its own source."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from decorec.config.datasets import AtomicDataset, Dataset, FolderDataset
from decorec.errors import DecorecError

if TYPE_CHECKING:
    from decorec.acquire.sources.source import Source
    from decorec.acquire.sources.tables import Tables

__all__ = ["SOURCES", "open_source", "open_tables"]

SOURCES = {
    "sample": "decorec.acquire.sources.category",
    "amazon2018": "decorec.acquire.sources.category",
    "amazon2023": "decorec.acquire.sources.category",
    "table": "decorec.acquire.sources.table",
    "microlens": "decorec.acquire.sources.microlens",
    "hm": "decorec.acquire.sources.hm",
    "yelp": "decorec.acquire.sources.yelp",
    "recbole": "decorec.acquire.sources.recbole",
    "huggingface": "decorec.acquire.sources.huggingface",
    "sql": "decorec.acquire.sources.sql",
}
"""Source -> module with a function ``opened``, which makes a ``Source`` from the data set's section."""


def open_source(dataset: Dataset, reviews: Path | None = None, meta: Path | None = None) -> Source:
    """The source of a data set; ``reviews`` and ``meta`` are files of a category that was downloaded.

    Raises:
        DecorecError: the source is atomic, or needs the files that were downloaded.
    """
    if isinstance(dataset, AtomicDataset):
        raise DecorecError(
            f"ingest: expected interactions and items, found the source {dataset.source!r}; atomic data sets go "
            "through the step atomic"
        )
    if isinstance(dataset, FolderDataset):
        return open_tables(dataset)
    found: Source = import_module(SOURCES[dataset.source]).opened(dataset, reviews, meta)
    return found


def open_tables(dataset: FolderDataset) -> Tables:
    """The two tables of a data set of the user's own.

    Raises:
        DecorecError: a name or an address in the section is not what the source needs.
    """
    found: Tables = import_module(SOURCES[dataset.source]).opened(dataset)
    return found
