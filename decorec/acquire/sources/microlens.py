"""Source microlens: MicroLens (Ni et al. 2023) as released, pairs, titles and a folder of covers.

The format, as the read-me file of the release and public readers of it describe it:

- ``MicroLens-100k_pairs.csv``: a heading, then user, item, timestamp in milliseconds. The tsv file of the same name has
  the order of the items and no times.
- ``MicroLens-100k_title_en.csv``: one line per item, number, comma, title; no heading. A title may hold commas, in
  quotes or without. ``MicroLens-50k_titles.csv`` has the heading item,title.
- ``MicroLens-100k_covers/NUMBER.jpg``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from decorec.acquire.csv_files import check_csv
from decorec.acquire.gzip_files import unpacked
from decorec.acquire.json_lines import reading
from decorec.acquire.sources.files import NOTHING_LOST, Csv, LocalTable, Opened, expect_folder
from decorec.acquire.sources.tables import Table, Tables
from decorec.config.datasets import MicroLensDataset
from decorec.data.interactions import shortened
from decorec.errors import DecorecError

__all__ = ["opened"]

HEADING = "item,title"
LINE = r"^\s*([0-9]*)\s*,(.*)$"


def opened(dataset: MicroLensDataset) -> Tables:
    """Pairs and titles.

    Raises:
        DecorecError: the file of pairs is the one without times.
    """
    folder = Path(dataset.path)
    pairs = folder / dataset.interactions
    if pairs.suffix == ".tsv":
        raise DecorecError(
            f"{pairs}: expected the csv file of pairs, found the tsv file, which has no times; name the csv file, "
            "which is released beside it"
        )
    covers = {} if dataset.covers is None else {"image": pl.format(f"{dataset.covers}/{{}}.jpg", pl.col("item"))}
    return Tables(
        interactions=Table(Csv(pairs), per_second=1_000),
        items=Table(_Titles(folder / dataset.items, dataset.covers), made=covers),
        unreadable=dataset.unreadable,
    )


@dataclass(frozen=True)
class _Titles(LocalTable):
    covers: str | None

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        with reading(self.path, what):
            if self.covers is not None:
                expect_folder(self.path.parent / self.covers, "covers of the items", "covers")
            check_csv(self.path)
            yield self._read(what).lazy(), NOTHING_LOST

    def _read(self, what: str) -> pl.DataFrame:
        try:
            with unpacked(self.path) as handle:
                lines = handle.read().decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise DecorecError(f"{self.path}: expected {what} in UTF-8, found other bytes ({error})") from error
        table = pl.DataFrame({"line": range(1, len(lines) + 1), "text": lines}).with_columns(
            pl.col("text").str.strip_chars_end("\r")
        )
        table = table.filter(pl.col("text").str.contains(r"\S"))
        if table["text"][:1].str.strip_chars().to_list() == [HEADING]:
            table = table[1:]
        wrong = table.filter(~pl.col("text").str.contains(LINE))
        if len(wrong):
            raise DecorecError(
                f"{self.path}, line {wrong['line'][0]}: expected the number of an item, a comma and its title, found "
                f"{shortened(wrong['text'][0])!r} ({len(wrong)} such lines); write each item in one line"
            )
        title = pl.col("text").str.extract(LINE, 2).str.strip_chars()
        quoted = title.str.contains(r'^"(?s:.*)"$') & (title.str.len_chars() > 1)
        bare = title.str.slice(1, title.str.len_chars() - 2).str.replace_all('""', '"', literal=True)
        return table.select(item=pl.col("text").str.extract(LINE, 1), title=pl.when(quoted).then(bare).otherwise(title))
