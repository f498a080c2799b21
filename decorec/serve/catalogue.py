"""What is known of the products: titles, categories, pictures, and a search by words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.images import IMAGES
from decorec.errors import DecorecError
from decorec.recommend.new_items import DESCRIPTIONS
from decorec.recommend.self_contained import located

__all__ = ["Catalogue", "Tables"]

PRODUCTS = {name: DESCRIPTIONS[name] for name in ("item", "title", "text", "categories")}
SHA256 = re.compile(r"[0-9a-f]{64}")
WORD = re.compile(r"\w+")
TYPICAL = 3
"""Words that name a group of items, at most."""
COMPLETIONS = 50
"""Words that the beginning of a word stands for, at most."""


@dataclass(frozen=True)
class Tables:
    """The files that a catalogue is read from; None: there is none."""

    items: Path | None = None
    images: Path | None = None
    cache: Path | None = None

    def of(self, run: Path) -> Tables:
        """Those that are given, else those of the run's data set that are there.

        Raises:
            DecorecError: the manifest of a self-contained folder is damaged.
        """
        run = located(run)
        return Tables(
            self.items or layout.existing(run, layout.CATALOGUE),
            self.images or layout.existing(run, layout.IMAGES),
            self.cache or layout.existing(run, layout.CACHE),
        )


class Catalogue:
    """Products by their ids; without files, one that knows nothing."""

    def __init__(self, tables: Tables = Tables(), added: pl.DataFrame | None = None) -> None:
        """Read the tables.

        Args:
            tables: items.parquet: item and text, and what there is of title and categories (of several rows of an item
                the first is used); images.parquet; and the folder of the stored pictures, without which none is shown.
            added: what is known of items that were added to the run (``read_descriptions``), for those that the tables
                do not have.

        Raises:
            DecorecError: a file is missing or no such table.
        """
        self._pictures: dict[str, Path] = {}
        if added is None:
            added = pl.DataFrame(schema=DESCRIPTIONS)
        products = [*([] if tables.items is None else [_products(tables.items)]), added.select(*PRODUCTS)]
        table = pl.concat(products).drop_nulls("item").unique("item", keep="first", maintain_order=True)
        title = pl.coalesce(pl.col("title", "text").replace("", None), "item")
        self.titles: dict[str, str] = dict(table.select("item", title.alias("title")).iter_rows())
        whole = pl.concat_str("item", title, "text", separator=" ", ignore_nulls=True)
        texts = table.select(whole.alias("whole"))["whole"].to_list()
        self._categories = _by_category(table)
        self._items = list(self.titles)
        if tables.cache is not None:
            pictures = [*([] if tables.images is None else [_stored(tables.images)]), added.select("item", "sha256")]
            found = pl.concat(pictures).drop_nulls().unique("item", keep="first", maintain_order=True).iter_rows()
            where = partial(layout.picture_path, tables.cache)
            self._pictures = {item: where(name) for item, name in found if SHA256.fullmatch(name)}
        self._index = _Words(texts) if texts else None

    def within(self, category: str) -> frozenset[str]:
        """The items of a category.

        Raises:
            DecorecError: there is no such category.
        """
        if category not in self._categories:
            known = sorted(self._categories)
            shown = f"one of {len(known)}, such as {known[0]!r}" if known else "none: no catalogue names any"
            raise DecorecError(f"category: expected {shown}, found {category!r}; correct it, or leave it out")
        return self._categories[category]

    def picture(self, item: str) -> Path | None:
        """The stored picture of an item."""
        return self._pictures.get(item)

    def search(self, words: str, count: int) -> list[str]:
        """The ``count`` items whose ids, titles and texts fit ``words`` best; the last word may be incomplete."""
        if self._index is None:
            return []
        return [self._items[place] for place in self._index.search(words, count)]

    def typical(self, groups: Sequence[Sequence[str]]) -> list[list[str]]:
        """For each group of items, up to three words that stand in more of their texts than in those of all items."""
        if self._index is None:
            return [[] for _ in groups]
        place = {item: number for number, item in enumerate(self._items)}
        return self._index.typical([[place[item] for item in group if item in place] for group in groups])


def _products(path: Path) -> pl.DataFrame:
    """The columns ``PRODUCTS`` of a table; null where it has none of that name and type."""
    table = read_table(path, {"item": pl.String, "text": pl.String})
    there = {name for name, dtype in PRODUCTS.items() if table.schema.get(name) == dtype}
    return table.select(
        pl.col(name) if name in there else pl.lit(None, dtype).alias(name) for name, dtype in PRODUCTS.items()
    )


def _stored(path: Path) -> pl.DataFrame:
    """item and sha256 of the pictures that were fetched."""
    wanted = {name: IMAGES[name] for name in ("item", "status", "sha256")}
    return read_table(path, wanted).filter(pl.col("status") == "ok").select("item", "sha256")


def _by_category(table: pl.DataFrame) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item, category in table.select("item", "categories").explode("categories").drop_nulls().iter_rows():
        found[category].add(item)
    return {category: frozenset(items) for category, items in found.items()}


class _Words:
    """TF-IDF over texts."""

    def __init__(self, texts: list[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(strip_accents="unicode", sublinear_tf=True, token_pattern=WORD.pattern)
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError:  # no text has a word
            matrix, self._terms = None, []
        else:
            self._terms = vectorizer.get_feature_names_out().tolist()
        self._matrix: Any = None if matrix is None else matrix.tocsc()
        self._idf = vectorizer.idf_ if self._terms else np.empty(0)
        self._analyse = vectorizer.build_analyzer()
        self._spelt = _spellings(texts)

    def search(self, words: str, count: int) -> list[int]:
        """Places of the texts that fit best, best first."""
        *complete, last = self._analyse(words) or [""]
        columns = [place for word in complete for place in self._places(word, 1) if self._terms[place] == word]
        columns += self._places(last, COMPLETIONS)
        if not columns:
            return []
        scores = self._matrix[:, columns] @ self._idf[columns]
        best = np.argsort(-scores, kind="stable")[:count]
        return [int(place) for place in best if scores[place] > 0]

    def typical(self, groups: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each group of texts, by their places: the words that say most about which group a text is in.

        A word has two letters or more and nothing else, stands in two texts of the group, or in its only one, and in at
        least twice as large a share of them as of all. Words are ordered by p log(p / q), with these two shares.
        """
        if self._matrix is None:
            return [[] for _ in groups]
        there = (self._matrix > 0).astype(np.int64)
        rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        places = np.fromiter((place for group in groups for place in group), np.int64)
        within = csr_array((np.ones_like(places), (rows, places)), shape=(len(groups), there.shape[0]))
        texts, usual = (within @ there).tocsr(), np.asarray(there.sum(0)).ravel() / there.shape[0]
        texts.sort_indices()
        found = []
        for number, group in enumerate(groups):
            own = slice(*texts.indptr[number : number + 2])
            words, count = texts.indices[own], texts.data[own]
            share = count / max(1, len(group))
            says = share * np.log(share / usual[words])
            chosen = (count >= min(2, len(group))) & (share >= 2 * usual[words])
            named = (self._shown(words[n], usual) for n in np.argsort(-says, kind="stable") if chosen[n])
            found.append(list(islice((word for word in named if len(word) > 1 and word.isalpha()), TYPICAL)))
        return found

    def _shown(self, place: int, usual: npt.NDArray[np.float64]) -> str:
        """The word that a term stands for in most of its texts; ``usual`` [terms]: the share of texts that have it."""
        term = self._terms[place]
        word, count = self._spelt.get(term, (term, 0))
        return word if 2 * count > usual[place] * self._matrix.shape[0] else term

    def _places(self, beginning: str, most: int) -> list[int]:
        """Terms that begin so, in order of the alphabet: the word itself is the first of them."""
        start = bisect_left(self._terms, beginning) if beginning else len(self._terms)
        stop = bisect_left(self._terms, beginning + "\U0010ffff", lo=start)
        return list(range(start, min(stop, start + most)))


def _spellings(texts: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Term -> its commonest word, and in how many texts that stands, where the word has accents, as й is и with one."""
    from sklearn.feature_extraction.text import strip_accents_unicode

    words = Counter[str]()
    for text in texts:
        if not text.isascii():
            words.update(set(WORD.findall(normalize("NFC", text.lower()))))
    found: dict[str, tuple[str, int]] = {}
    for word, count in words.most_common():
        found.setdefault(strip_accents_unicode(word), (word, count))
    return found
