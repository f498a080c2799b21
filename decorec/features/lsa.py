"""Text features without a neural network: latent semantic analysis of the shop's own texts.

TF-IDF of words and pairs of words, then a truncated singular value decomposition (Deerwester et al., JASIS 1990;
scikit-learn's). It needs neither weights nor pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["NORM", "embed_texts"]

NORM = 10.0
"""Length of each row: about that of the features of published CLIP models, for which the defaults of models are."""
RARE = 2
"""Texts that a word or pair of words must be in to count."""
log = logging.getLogger("decorec")


def embed_texts(texts: Sequence[str], width: int, seed: int) -> tuple[npt.NDArray[np.float32], dict[str, str]]:
    """Features of distinct texts.

    The decomposition runs on one thread: its sums, and with them the last bits, would depend on their number.

    Args:
        texts: the texts.
        width: number of values in a row; fewer if there are not so many texts or words.
        seed: of the random start of the decomposition.

    Returns:
        Features [texts, width] float32, rows of length ``NORM`` (zero for a text without a word that counts), and facts
        for the metadata: number of words, share of variance explained.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    terms = TfidfVectorizer(ngram_range=(1, 2), min_df=min(RARE, len(texts)), sublinear_tf=True)
    try:
        weighted = terms.fit_transform(texts)
    except ValueError:  # no text has a word that counts
        return np.zeros((len(texts), 1), dtype=np.float32), {"words": "0", "explained": "0"}
    kept = min(width, min(weighted.shape) - 1)
    if kept < 1:
        return _scaled(weighted.toarray()), {"words": str(weighted.shape[1]), "explained": "1"}
    with threadpool_limits(1), np.errstate(invalid="ignore"):  # equal texts have no variance to explain
        decomposition = TruncatedSVD(kept, random_state=seed)
        x = decomposition.fit_transform(weighted)
    explained = float(np.nan_to_num(decomposition.explained_variance_ratio_, nan=1 / kept).sum())
    facts = {"words": str(weighted.shape[1]), "explained": f"{explained:.4f}"}
    log.info("features: texts in %d values of %s words and pairs: %s of the variance", kept, *facts.values())
    return _scaled(x), facts


def _scaled(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return (NORM * x / np.where(lengths > 0, lengths, 1)).astype(np.float32)
