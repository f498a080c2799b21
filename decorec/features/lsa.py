"""Text features without a neural network: latent semantic analysis of the shop's own texts.

TF-IDF of words and pairs of words, then a truncated singular value decomposition (Deerwester et al., JASIS 1990;
scikit-learn's). It needs neither weights nor pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Lsa"]

RARE = 2
"""Texts that a word or pair of words must be in to count."""
COUNTED: dict[str, Any] = {"ngram_range": (1, 2), "sublinear_tf": True}
"""What is counted: words and pairs of words, a repeated one by the logarithm of its number."""
log = logging.getLogger("decorec")


@dataclass(frozen=True)
class Lsa:
    """A fitted analysis. The vector of a text depends on this text alone, whatever other texts are encoded with it.

    ``terms``: the words and pairs of words that count. ``idf`` [terms] float64: their weights. ``components`` [width,
    terms] float32. ``explained``: share of the variance, for the metadata.
    """

    terms: list[str]
    idf: npt.NDArray[np.float64]
    components: npt.NDArray[np.float32]
    explained: str

    @classmethod
    def fit(cls, texts: Sequence[str], width: int, seed: int) -> Lsa:
        """Fit to distinct texts.

        The decomposition runs on one thread: its sums, and with them the last bits, would depend on their number.

        Args:
            texts: the texts.
            width: number of values in a row; fewer if there are not so many texts or words.
            seed: of the random start of the decomposition.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        counts = TfidfVectorizer(min_df=min(RARE, len(texts)), **COUNTED)
        try:
            weighted = counts.fit_transform(texts)
        except ValueError:  # no text has a word that counts
            return cls([], np.zeros(0), np.zeros((1, 0), dtype=np.float32), "0")
        terms = [str(term) for term in counts.get_feature_names_out()]
        kept = min(width, min(weighted.shape) - 1)
        if kept < 1:
            return cls(terms, counts.idf_, np.eye(len(terms), dtype=np.float32), "1")
        with threadpool_limits(1), np.errstate(invalid="ignore"):  # equal texts have no variance to explain
            decomposition = TruncatedSVD(kept, random_state=seed).fit(weighted)
        explained = float(np.nan_to_num(decomposition.explained_variance_ratio_, nan=1 / kept).sum())
        return cls(terms, counts.idf_, decomposition.components_.astype(np.float32), f"{explained:.4f}")

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Features [texts, width], of any length up to 1; zero for a text without a term."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not self.terms or not texts:
            return np.zeros((len(texts), len(self.components)), dtype=np.float32)
        counts = TfidfVectorizer(vocabulary=self.terms, **COUNTED)
        counts.idf_ = self.idf
        x: npt.NDArray[np.float32] = (
            counts.transform(texts) @ np.ascontiguousarray(self.components.T, dtype=np.float64)
        ).astype(np.float32)
        return x

    @property
    def facts(self) -> dict[str, str]:
        """For the metadata of features: number of terms, share of the variance explained."""
        return {"words": str(len(self.terms)), "explained": self.explained}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The analysis as arrays."""
        terms = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        return {"terms": terms, "idf": self.idf, "components": self.components}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], explained: str) -> Lsa:
        """The analysis with these ``arrays()``."""
        terms = arrays["terms"].tobytes().decode()
        return cls(terms.split("\n") if terms else [], arrays["idf"], arrays["components"], explained)
