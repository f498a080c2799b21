"""Step histories: what every customer of a source bought, also those whom the k-core drops."""

from __future__ import annotations

import logging
from pathlib import Path

from decorec.acquire.ingest import opened
from decorec.acquire.sources.losses import expect_understood
from decorec.artifacts.files import write_table
from decorec.artifacts.schemas.histories import HISTORIES
from decorec.config.datasets import Dataset
from decorec.config.prepare import FilterConfig
from decorec.data.interactions import rated, repeated

__all__ = ["histories"]

log = logging.getLogger("decorec")


def histories(
    *,
    dataset: Dataset,
    filter: FilterConfig,
    histories: Path,
    reviews: Path | None = None,
    meta: Path | None = None,
    checksums: Path | None = None,
    threads: int = 1,
) -> None:
    """Read the interactions of all customers of a source, without low ratings and duplicates.

    Args:
        dataset: as for the step ingest.
        filter: the section filter of the configuration; its keys least_rating and duplicates are used.
        histories: histories.parquet (written): user, item, timestamp (seconds since 1970); in the order of the source,
            or of time where the source's times are finer than a second.
        reviews: as for the step ingest.
        meta: as for the step ingest; only its checksum is read.
        checksums: as for the step ingest.
        threads: number of threads of polars.

    Raises:
        DecorecError: a file is missing or unreadable, or more of its records than dataset.unreadable allows are lost.
    """
    source = opened(dataset, reviews, meta, checksums)
    found, account = source.read_interactions()
    expect_understood(source.interactions_origin, account, source.unreadable)
    if filter.least_rating is not None:
        found, _ = rated(found, filter.least_rating, source.interactions_origin, source.unreadable)
    kept = found.table(~repeated(found, filter.duplicates))
    write_table(histories, kept.select(*HISTORIES), HISTORIES)
    log.info("histories: %d interactions of %d customers", len(kept), kept["user"].n_unique())
