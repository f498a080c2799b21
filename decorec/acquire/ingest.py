"""Step ingest: reads interactions and items from the source's files, cleans them and keeps the k-core."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

from decorec.acquire.checksums import Sums, expect_sums
from decorec.acquire.sources.catalogue import make_catalogue
from decorec.acquire.sources.losses import expect_same_ids, expect_understood
from decorec.acquire.sources.registry import open_source
from decorec.acquire.sources.source import Metadata, Source
from decorec.artifacts.files import write_json, write_table
from decorec.artifacts.seal import counted
from decorec.config.datasets import Dataset
from decorec.config.prepare import FilterConfig
from decorec.config.stored import read_stored
from decorec.data.contract import check_interactions
from decorec.data.filtering import Filtered
from decorec.data.interactions import Account, rated, repeated
from decorec.errors import DecorecError

__all__ = ["ingest", "opened"]

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
    checksums: Path | None = None,
    threads: int = 1,
) -> None:
    """Read the interactions and items of a source, clean them, and keep the k-core.

    Low ratings (filter.least_rating), duplicates and interactions with an item without metadata are dropped first. Only
    the k-core is kept, so that no picture is fetched for an item that is not used.

    Args:
        dataset: the data set, of any source but atomic. Sources that are not downloaded are read where the section says
            that they are (read).
        filter: the section filter of the configuration; filter.require is applied later, by the step split.
        interactions: interactions.parquet (written): user, item, rating (null where unknown), timestamp (seconds since
            1970); in the order of the source, or of time where the source's times are finer than a second.
        catalogue: items.parquet (written), one row per item, in order of first appearance in interactions: item, title,
            brand, categories, description, text, image_urls.
        counts: ingest.json (written): what was read, dropped and repaired, by reason, and what was kept.
        reviews: reviews (read): gzip, one JSON object per line; of the sources sample, amazon2018 and
            amazon2023 alone.
        meta: metadata of the items (read): gzip, one JSON object per line; of the same sources.
        checksums: checksums.json (read) of the step download, with which both files are compared; of the same
            sources.
        threads: number of processes that clean texts, and number of threads of polars.

    Raises:
        DecorecError: a file is missing or unreadable, more of its records than dataset.unreadable allows are lost, no
            interaction has an item with metadata, or the k-core is empty.
    """
    source = opened(dataset, reviews, meta, checksums)
    kept, account, steps, metadata = _reduce(source, filter)
    order = kept.select(pl.col("item").unique(maintain_order=True).cast(pl.String))
    records = order.join(metadata.records, on="item", how="left", maintain_order="left")
    rows, repaired = make_catalogue(records, source.row, threads)
    repairs = dict(sorted((repaired + Counter(metadata.account.repaired)).items()))
    summary = {
        "interactions": {**account.summary, "dropped": account.dropped, "repaired": account.repaired},
        "items": {**metadata.account.summary, "dropped": metadata.account.dropped, "repaired": repairs},
        "filter": steps,
        "kept": {"users": kept["user"].n_unique(), "items": len(rows), "interactions": len(kept)},
    }
    check_interactions(interactions, kept, rows["item"], filter.kcore)
    # First, so that the same items are the same bytes whatever was bought of them: what is made from the items alone
    # need not be made again.
    write_table(catalogue, rows)
    write_table(interactions, kept, {"user": pl.String, "item": pl.String})
    write_json(counts, summary)
    losses = [
        account.dropped,
        *(step["dropped"] for step in steps if step["step"] in ("ratings", "duplicates", "metadata")),
    ]
    dropped = "".join(f", {count} dropped ({reason})" for loss in losses for reason, count in loss.items() if count)
    log.info(
        "ingest: %d records read%s; %d interactions kept, of %d items",
        account.summary["records"],
        dropped,
        len(kept),
        len(rows),
    )


class _Checksums(BaseModel):
    """What checksums.json says of the two files."""

    reviews: Sums
    meta: Sums


def opened(dataset: Dataset, reviews: Path | None, meta: Path | None, checksums: Path | None) -> Source:
    """The source of a data set, after files that were downloaded were compared with their checksums; as for ``ingest``.

    Raises:
        DecorecError: files are missing, or not the ones that were downloaded.
    """
    if checksums is not None and reviews is not None and meta is not None:
        written = read_stored(checksums, _Checksums, "run the step download again")
        expect_sums(reviews, written.reviews)
        expect_sums(meta, written.meta)
    return open_source(dataset, reviews, meta)


def _reduce(source: Source, filter: FilterConfig) -> tuple[pl.DataFrame, Account, list[dict[str, Any]], Metadata]:
    """Drop low ratings, duplicates, interactions with an item without metadata, and those outside of the k-core.

    Complete metadata are read only for items with at least k interactions, because the core contains no others.

    Returns:
        what is left, as ``Interactions.table`` has it, with ids as categories; the account of the interactions that
        were read; the steps of the filter; the metadata.
    """
    found, account = source.read_interactions()
    counted(Path(source.interactions_origin), account.summary["records"])
    expect_understood(source.interactions_origin, account, source.unreadable)
    low: dict[str, int] = {}
    if filter.least_rating is not None:
        found, low = rated(found, filter.least_rating, source.interactions_origin, source.unreadable)
    filtered = Filtered.start(found.user, found.item)
    if low:
        filtered.note("ratings", low)
    filtered.drop(repeated(found, filter.duplicates), "duplicates", f"duplicate ({filter.duplicates})")
    items = found.items
    often = np.bincount(filtered.item[filtered.left], minlength=len(items)) >= filter.kcore
    wanted = items.filter(pl.Series(often))
    metadata = source.read_items(wanted)
    expect_understood(source.items_origin, metadata.account, source.unreadable)
    expect_same_ids(source.items_origin, wanted, metadata.ids, source.unreadable)
    filtered.keep(items.is_in(metadata.ids.implode()).to_numpy(), "metadata", "item without metadata")
    if not filtered.left.any():
        lost = "".join(f", {reason}: {count}" for reason, count in metadata.account.dropped.items() if count)
        raise DecorecError(
            f"{source.items_origin}: expected metadata of the {account.summary['items']} items with interactions (such "
            f"as {found.rows['item'][0]!r}), found {len(metadata.ids)} other items{lost}; check that both files belong "
            "to one data set"
        )
    filtered.core(filter.kcore, "lower filter.kcore or add data")
    counted(Path(source.items_origin), metadata.account.summary["records"])
    return found.table(filtered.left), account, filtered.steps, metadata
