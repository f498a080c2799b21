"""Source hm: H&M Personalized Fashion Recommendations in the layout of Kaggle.

The format, as public readers of it and data cards of copies of it describe it:

- ``transactions_train.csv``: t_dat (day, such as 2018-09-20), customer_id, article_id, price, sales_channel_id.
- ``articles.csv``: article_id, prod_name, product_type_name, colour_group_name, index_group_name, detail_desc, and 19
  other columns.
- ``images/010/0108775015.jpg``: the folder is the first three of the ten digits of an article_id. Some articles have no
  picture.

An article_id begins with a zero. Programs that read it as a number lose it, and with it the name of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from decorec.acquire.sources.files import Csv, Opened, expect_folder
from decorec.acquire.sources.tables import Table, Tables
from decorec.config.datasets import HmDataset
from decorec.errors import DecorecError

__all__ = ["opened"]

ARTICLE = pl.col("article_id").str.strip_chars()
DIGITS = 10
LEVELS = ("index_group_name", "product_type_name", "colour_group_name")


def opened(dataset: HmDataset) -> Tables:
    """Transactions and articles."""
    folder = Path(dataset.path)
    made = {"category": pl.concat_list(LEVELS).list.drop_nulls()}
    if dataset.images is not None:
        made["image"] = pl.format(f"{dataset.images}/{{}}/{{}}.jpg", ARTICLE.str.slice(0, 3), ARTICLE)
    return Tables(
        interactions=Table(
            Csv(folder / dataset.interactions), {"user": "customer_id", "item": "article_id", "timestamp": "t_dat"}
        ),
        items=Table(
            _Articles(folder / dataset.items, dataset.images),
            {"item": "article_id", "title": "prod_name", "description": "detail_desc"},
            made,
        ),
        unreadable=dataset.unreadable,
    )


@dataclass(frozen=True)
class _Articles(Csv):
    images: str | None

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        with super().opened(what, fields) as (table, lost):
            if self.images is not None:
                expect_folder(self.path.parent / self.images, "pictures of the articles", "images")
            if "article_id" in table.collect_schema():
                self._expect_digits(table)
            yield table, lost

    def _expect_digits(self, table: pl.LazyFrame) -> None:
        ids = table.select(pl.int_range(1, pl.len() + 1).alias("record"), ARTICLE)
        wrong = ids.filter((ARTICLE.str.len_chars() != DIGITS) & (ARTICLE != "")).collect()
        if len(wrong):
            record, found = wrong.row(0)
            raise DecorecError(
                f"{self.path}, record {record}, column 'article_id': expected {DIGITS} digits such as 0108775015, "
                f"found {found!r} ({len(wrong)} such records); take the file as it was published, or write the column "
                "as text"
            )
