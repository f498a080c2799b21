"""What is known of the products: titles, categories, pictures, and a search by words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from decorec.artifacts.files import read_table
from decorec.artifacts.layout import picture_path
from decorec.artifacts.schemas.images import IMAGES
from decorec.errors import DecorecError

__all__ = ["Catalogue"]

SHA256 = re.compile(r"[0-9a-f]{64}")
WORD = re.compile(r"\w+")
TYPICAL = 3
"""Words that name a group of items, at most."""
COMPLETIONS = 50
"""Words that the beginning of a word stands for, at most."""


class Catalogue:
    """Products by their ids; without files, one that knows nothing."""

    def __init__(self, items: Path | None = None, images: Path | None = None, cache: Path | None = None) -> None:
        """Read the tables.

        Args:
            items: items.parquet: item and text, and what there is of title and categories.
            images: images.parquet; pictures are shown where ``cache`` holds them.
            cache: folder of the stored pictures.

        Raises:
            DecorecError: a file is missing or no such table.
        """
        self.titles: dict[str, str] = {}
        self.path = items
        self._categories: dict[str, frozenset[str]] = {}
        self._pictures: dict[str, Path] = {}
        texts: list[str] = []
        if items is not None:
            table = read_table(items, {"item": pl.String, "text": pl.String})
            named = [pl.col(name).replace("", None) for name in ("title", "text") if name in table.columns]
            title = pl.coalesce(*named, "item")
            self.titles = dict(table.select("item", title.alias("title")).iter_rows())
            whole = pl.concat_str("item", title, "text", separator=" ", ignore_nulls=True)
            texts = table.select(whole.alias("whole"))["whole"].to_list()
            self._categories = _by_category(table)
        self._items = list(self.titles)
        if images is not None and cache is not None:
            wanted = {name: IMAGES[name] for name in ("item", "status", "sha256")}
            fetched = read_table(images, wanted).filter((pl.col("status") == "ok") & pl.col("sha256").is_not_null())
            found = fetched.unique("item", keep="first", maintain_order=True).select("item", "sha256").iter_rows()
            self._pictures = {item: picture_path(cache, name) for item, name in found if SHA256.fullmatch(name)}
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


def _by_category(table: pl.DataFrame) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    if table.schema.get("categories") == pl.List(pl.String):
        pairs = table.select("item", "categories").explode("categories").drop_nulls()
        for item, category in pairs.iter_rows():
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
