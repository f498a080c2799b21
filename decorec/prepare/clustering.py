"""Step cluster: makes interests, clusters of the items' raw features after enrichment by neighbours (eq. 3 to 5)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.artifacts.files import read_sparse, write_arrays
from decorec.config.prepare import InterestsConfig
from decorec.data.contract import check_interests
from decorec.data.graph import normalise
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import read_vocab
from decorec.errors import DecorecError

__all__ = ["cluster", "enrich", "kmeans", "nearest", "two_levels"]

EXACT = 1 << 29
"""Most pairs of an item and a cluster for which k-means compares all of them: 73,000 items at a tenth as many clusters,
ten minutes of one core (``python -m benchmarks clusters``)."""
SAMPLE = 256
"""Rows for each group of two levels from which the groups are found."""
log = logging.getLogger("decorec")
Floats = npt.NDArray[np.float32]


def cluster(*, settings: InterestsConfig, cooccurrence: Path, vocab: Path, features: Path, interests: Path) -> None:
    """Cluster the enriched features of one modality.

    The number of clusters is k = ratio x items, at least 1; with more than 2^29 pairs of an item and a cluster they are
    found in two levels. An item without the modality starts as the zero vector and is clustered by the features of its
    neighbours in the co-occurrence graph; it stays in that cluster with ``assign: nearest``, since it has no features
    of its own that could be nearer to another one.

    Args:
        settings: the section interests of the configuration.
        cooccurrence: cooccurrence.npz (read).
        vocab: vocab.parquet (read).
        features: MODALITY.safetensors (read): the features of the modality.
        interests: MODALITY.safetensors of the interests (written): centroids [k, width] and assignment [items].

    Raises:
        DecorecError: the features or the co-occurrence matrix do not fit the items of the vocabulary.
    """
    items = read_vocab(vocab)
    matrix = read_sparse(cooccurrence)
    if matrix.shape != (len(items), len(items)):
        raise DecorecError(
            f"{cooccurrence}: expected a matrix of {len(items)} x {len(items)} items (the items of {vocab}), found "
            f"{matrix.shape[0]} x {matrix.shape[1]}; run the cooccurrence step again"
        )
    graph = normalise(matrix, settings.normalisation)
    k = max(1, round(settings.ratio * len(items)))
    x, present = FeatureFile.read(features).aligned(items)
    enriched = enrich(x, graph, settings.gate, settings.layers)
    centroids, assignment = (kmeans if len(x) * k <= EXACT else two_levels)(enriched, k, settings.seed)
    if settings.assign == "nearest":
        assignment[present] = nearest(x[present], centroids)
    largest = np.bincount(assignment, minlength=k).max()
    log.info("cluster: %d items of %s in %d interests, the largest of %d", len(items), features, k, largest)
    check_interests(interests, centroids, assignment, len(items))
    write_arrays(interests, {"centroids": centroids, "assignment": assignment})


def enrich(x: Floats, graph: Any, gate: float, layers: int) -> Floats:
    """x + 1/layers * sum over l of gate * graph^l x (eq. 3 with a fixed gate); x itself for 0 layers.

    Args:
        x: [items, width].
        graph: normalised co-occurrence, CSR [items, items].
        gate: strength of each hop.
        layers: number of hops.
    """
    enriched, hop = x, x
    for _ in range(layers):
        hop = graph @ hop
        enriched = enriched + np.float32(gate / layers) * hop
    return enriched


def kmeans(x: Floats, k: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """k-means (Lloyd) from one k-means++ start; returns centroids [k, width] and the cluster of each row of x.

    Runs on one thread: with more threads, partial sums would be added in a different order in each run, and the
    clusters could change. ``x`` is centred in place and restored; this saves a copy but can change its last bits.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        model = KMeans(n_clusters=k, init="k-means++", n_init=1, algorithm="lloyd", random_state=seed, copy_x=False)
        model.fit(x)
    return model.cluster_centers_.astype(np.float32), model.labels_.astype(np.int64)


def two_levels(x: Floats, k: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """k-means into about sqrt(k) groups, and of each group into its share of the k clusters; returns what ``kmeans``
    does.

    A row is compared with some 2 sqrt(k) centroids in place of k. The groups are those of a sample of the rows, and a
    group gets clusters in proportion to its rows.
    """
    groups = max(1, round(k**0.5))
    random = np.random.default_rng(seed)
    sample = np.sort(random.choice(len(x), min(len(x), SAMPLE * groups), replace=False))
    group = nearest(x, kmeans(x[sample], groups, seed)[0])
    known, sizes = np.unique(group, return_counts=True)
    centroids = np.empty((k, x.shape[1]), np.float32)
    assignment = np.empty(len(x), np.int64)
    begin = 0
    for number, clusters in zip(known, _shares(sizes, k), strict=True):
        rows = np.flatnonzero(group == number)
        found, own = kmeans(x[rows], clusters, seed)
        centroids[begin : begin + clusters] = found
        assignment[rows] = begin + own
        begin += clusters
    return centroids, assignment


def _shares(sizes: npt.NDArray[np.int64], k: int) -> list[int]:
    """k divided in proportion to ``sizes``, which add up to at least k; each at least 1 and at most its size."""
    exact = np.maximum(k * sizes / sizes.sum(), 1)
    whole = np.floor(exact).astype(np.int64)
    order = np.argsort(whole - exact, kind="stable")  # the largest remainders first
    step = 1 if whole.sum() < k else -1
    while whole.sum() != k:
        allowed = whole[order] < sizes[order] if step > 0 else whole[order] > 1
        whole[order[allowed][: abs(k - int(whole.sum()))]] += step
    return [int(number) for number in whole]


def nearest(x: Floats, centroids: Floats) -> npt.NDArray[np.int64]:
    """Eq. 5 for raw features: the centroid at the smallest Euclidean distance, the first of equally near ones.

    Runs on one thread, as ``kmeans``.

    Args:
        x: [n, width].
        centroids: [k, width].

    Returns:
        [n] numbers of centroids.
    """
    from sklearn.metrics import pairwise_distances_argmin
    from threadpoolctl import threadpool_limits

    if not len(x):
        return np.empty(0, np.int64)
    with threadpool_limits(limits=1):
        found: npt.NDArray[np.int64] = pairwise_distances_argmin(x, centroids).astype(np.int64)
    return found
