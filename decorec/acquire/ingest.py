"""Step ingest: from the source's own files to interactions and items, cleaned and cut to the k-core."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from decorec.acquire.sources.catalogue import Row, make_catalogue
from decorec.acquire.sources.metadata import Metadata, item_row, read_metadata
from decorec.acquire.sources.reviews import AmazonFormat, read_reviews
from decorec.acquire.sources.table import read_interactions, read_items, table_row
from decorec.artifacts.files import write_json, write_table
from decorec.config.datasets import Dataset, TableDataset
from decorec.config.prepare import FilterConfig
from decorec.data.filtering import Filtered
from decorec.data.interactions import Account, Interactions, repeated
from decorec.errors import DecorecError

__all__ = ["ingest"]

log = logging.getLogger("decorec")


def ingest(
    *,
    dataset: Dataset,
    filter: FilterConfig,
    interactions: Path,
    catalogue: Path,
    counts: Path,
    reviews: Path | None = None,
    meta: Path | None = None,
    threads: int = 1,
) -> None:
    """Read, clean and pre-filter a source.

    interactions: user, item, rating (null where unknown), timestamp (seconds), in the order of the source. catalogue: one
    row per item, in order of first appearance there. counts: what was read, dropped and repaired, by reason. Only the
    k-core is kept, so that no picture is fetched in vain. reviews, meta: gzipped JSON lines of a shop; tables are found
    by the path of their data set. threads: processes for the texts; polars takes its own from the command line.

    Raises:
        DecorecError: a file is missing or unreadable, no interaction has an item with metadata, or the k-core is empty.
    """
    source = _source(dataset, reviews, meta)
    found, account = source.read_interactions()
    filtered, metadata = _reduce(found, filter, source)
    kept = found.table(filtered.rows)
    order = kept.select(pl.col("item").unique(maintain_order=True))
    records = order.join(metadata.records, on="item", how="left", maintain_order="left")
    rows, repaired = make_catalogue(records, source.row, threads)
    repairs = dict(sorted((repaired + Counter(metadata.account.repaired)).items()))
    summary = {
        "interactions": {**account.summary, "dropped": account.dropped, "repaired": account.repaired},
        "items": {**metadata.account.summary, "dropped": metadata.account.dropped, "repaired": repairs},
        "filter": filtered.steps,
        "kept": {"users": kept["user"].n_unique(), "items": len(rows), "interactions": len(kept)},
    }
    write_table(interactions, kept)
    write_table(catalogue, rows)
    write_json(counts, summary)
    log.info("ingest: %d interactions read; %d kept, of %d items", len(found.user), len(kept), len(rows))


@dataclass(frozen=True)
class _Source:
    """How a source is read: its interactions, the metadata of given items, and a row of items.parquet from a record."""

    name: str
    items_file: Path
    read_interactions: Callable[[], tuple[Interactions, Account]]
    read_metadata: Callable[[pl.Series], Metadata]
    row: Row


def _source(dataset: Dataset, reviews: Path | None, meta: Path | None) -> _Source:
    if isinstance(dataset, TableDataset):
        file = Path(dataset.path) / dataset.items
        return _Source("table", file, partial(read_interactions, dataset), partial(read_items, dataset), table_row)
    formats: dict[str, AmazonFormat] = {
        "sample": "amazon2018",
        "amazon2018": "amazon2018",
        "amazon2023": "amazon2023",
    }
    if dataset.source not in formats or reviews is None or meta is None:
        raise DecorecError(
            f"ingest: expected a table, or a shop with --reviews and --meta, found the source {dataset.source!r} with "
            f"--reviews {reviews} and --meta {meta}; give both files (atomic data sets go through the step atomic)"
        )
    shop = formats[dataset.source]
    return _Source(
        dataset.source, meta, partial(read_reviews, reviews, shop), partial(read_metadata, meta, shop), item_row
    )


def _reduce(found: Interactions, filter: FilterConfig, source: _Source) -> tuple[Filtered, Metadata]:
    """Drop duplicates, interactions without metadata and what is outside of the k-core.

    Metadata are read in full only for the items with k interactions: the core lies among them.
    """
    filtered = Filtered.start(found.user, found.item)
    filtered.drop(repeated(found, filter.duplicates), "duplicates", f"duplicate ({filter.duplicates})")
    often = np.bincount(found.item[filtered.rows], minlength=len(found.items)) >= filter.kcore
    metadata = source.read_metadata(found.items.filter(pl.Series(often)))
    filtered.keep(found.items.is_in(metadata.ids.implode()).to_numpy(), "metadata", "item without metadata")
    if not len(filtered.rows):
        raise DecorecError(
            f"{source.items_file}: expected metadata of the {len(found.items)} items with interactions (such as "
            f"{found.items[0]!r}), found {len(metadata.ids)} other items; check that both files belong to one data set"
        )
    filtered.core(filter.kcore, "lower filter.kcore or add data")
    return filtered, metadata
