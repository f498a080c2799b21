"""Source yelp: the Yelp open data set, reviews, businesses and photos.

The format, as the documentation of the data set and public readers of it describe it; one JSON object per line:

- ``yelp_academic_dataset_review.json``: user_id, business_id, stars, date ("2018-07-07 22:09:11"; a day alone in older
  releases), review_id, text and votes.
- ``yelp_academic_dataset_business.json``: business_id, name, city, state, categories ("Mexican, Restaurants"; a list in
  older releases, null where there are none) and more.
- ``photos.json``: photo_id, business_id, caption, label. The picture is ``photos/PHOTO_ID.jpg``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from decorec.acquire.sources.files import JsonLines, Opened, TableFile, expect_folder
from decorec.acquire.sources.losses import expect_understood
from decorec.acquire.sources.tables import Table, Tables
from decorec.config.datasets import YelpDataset

__all__ = ["opened"]

ITEM, PHOTOS = "business_id", "photos"


def opened(dataset: YelpDataset) -> Tables:
    """Reviews, and businesses with their photos."""
    folder = Path(dataset.path)
    photos = None if dataset.photos is None else JsonLines(folder / dataset.photos)
    levels = pl.col("categories").str.replace_all(r'[\[\]"]', "").str.split(",")
    made = {
        "category": levels,
        "description": pl.concat_str("city", "state", separator=", ", ignore_nulls=True),
    }
    return Tables(
        interactions=Table(
            JsonLines(folder / dataset.interactions),
            {"user": "user_id", "item": ITEM, "timestamp": "date", "rating": "stars"},
        ),
        items=Table(
            _Businesses(JsonLines(folder / dataset.items), photos, folder / dataset.pictures, dataset.unreadable),
            {"item": ITEM, "title": "name"} | ({} if photos is None else {"image": PHOTOS}),
            made,
        ),
        unreadable=dataset.unreadable,
    )


@dataclass(frozen=True)
class _Businesses(TableFile):
    """The businesses, and in the column photos the names of the files that show each of them."""

    businesses: JsonLines
    photos: JsonLines | None
    pictures: Path
    unreadable: float

    @property
    def origin(self) -> str:
        return self.businesses.origin

    def paths(self) -> list[Path]:
        return [*self.businesses.paths(), *([] if self.photos is None else self.photos.paths())]

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        own = [name for name in fields if name != PHOTOS]
        if self.photos is None or own == fields:
            with self.businesses.opened(what, own) as found:
                yield found
            return
        expect_folder(self.pictures, "photos", "photos")
        with self.photos.opened("photos of businesses", ["photo_id", ITEM]) as (table, lost):
            photos = table.with_columns(pl.col(ITEM).str.strip_chars()).collect()
        expect_understood(
            self.photos.origin, replace(lost, summary={**lost.summary, "records": len(photos)}), self.unreadable
        )
        name = pl.format(f"{self.pictures.name}/{{}}.jpg", pl.col("photo_id").str.strip_chars()).alias(PHOTOS)
        shown = photos.drop_nulls().group_by(ITEM, maintain_order=True).agg(name)
        if not own:  # the pictures alone are asked for
            yield shown.lazy(), lost
            return
        with self.businesses.opened(what, own) as (table, lost):
            businesses = table.with_columns(pl.col(ITEM).str.strip_chars())
            known = businesses.select(ITEM).collect()[ITEM].drop_nulls()
            unknown = {"photo of no item": int((~photos[ITEM].is_in(known.implode()).fill_null(False)).sum())}
            counted = replace(
                lost, summary={**lost.summary, "photos": len(photos)}, dropped={**lost.dropped, **unknown}
            )
            yield businesses.join(shown.lazy(), on=ITEM, how="left", maintain_order="left"), counted
