"""Enrichment against the formula; clusters that are right, repeatable and independent of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
from threadpoolctl import threadpool_limits

from decorec.artifacts.files import read_arrays, write_sparse
from decorec.config.prepare import InterestsConfig
from decorec.data.graph import normalise
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import write_vocab
from decorec.errors import DecorecError
from decorec.prepare import clustering
from decorec.prepare.clustering import _shares, cluster, enrich, kmeans, nearest, two_levels

ITEMS, WIDTH = 60, 5


def graph() -> Any:
    random = np.random.default_rng(1)
    upper = scipy.sparse.triu(scipy.sparse.random(ITEMS, ITEMS, 0.1, rng=random, dtype=np.float32), 1)
    return (upper + upper.T).tocsr()


def blobs(seed: int = 0) -> npt.NDArray[np.float32]:
    """Six tight groups of ten, far apart."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(6, WIDTH)) * 100
    return (np.repeat(centres, 10, axis=0) + random.normal(size=(ITEMS, WIDTH))).astype(np.float32)


@pytest.mark.parametrize(("gate", "layers"), [(0.5, 1), (0.3, 2), (0.01, 1), (0.7, 3)])
def test_enrichment_is_equation_3_with_a_fixed_gate(gate: float, layers: int) -> None:
    x, s = blobs(), graph().toarray().astype(np.float64)
    powers = [np.linalg.matrix_power(s, layer) @ x for layer in range(1, layers + 1)]
    expected = x + gate * sum(powers) / layers
    np.testing.assert_allclose(enrich(x, graph(), gate, layers), expected, rtol=1e-4)


def test_no_layers_leave_the_features_alone() -> None:
    assert enrich(blobs(), graph(), 0.5, 0).tobytes() == blobs().tobytes()


def test_kmeans_finds_the_groups_and_their_means() -> None:
    x = blobs()
    centroids, assignment = kmeans(x, 6, seed=3)
    groups = assignment.reshape(6, 10)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0].tolist())) == 6
    for group in range(6):
        np.testing.assert_allclose(centroids[group], x[assignment == group].mean(axis=0), rtol=1e-4)
    assert centroids.dtype == np.float32 and assignment.dtype == np.int64


@pytest.mark.parametrize(
    ("sizes", "k", "expected"),
    [
        ([30, 20, 10], 6, [3, 2, 1]),
        ([30, 20, 10], 7, [4, 2, 1]),
        ([100, 1, 1, 1], 5, [2, 1, 1, 1]),
        ([100, 1, 1, 1], 50, [47, 1, 1, 1]),
        ([3, 2, 1], 6, [3, 2, 1]),
        ([1], 1, [1]),
    ],
)
def test_groups_get_clusters_in_proportion_to_their_items(sizes: list[int], k: int, expected: list[int]) -> None:
    assert _shares(np.array(sizes), k) == expected


def test_clusters_in_two_levels_are_nearly_as_tight_as_those_of_all_pairs() -> None:
    """300 items around 30 points: both find clusters in which an item is nearest to its own mean, on any threads."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(30, WIDTH)) * 10
    x = (np.repeat(centres, 10, axis=0) + random.normal(size=(300, WIDTH))).astype(np.float32)

    def inertia(centroids: npt.NDArray[np.float32], assignment: npt.NDArray[np.int64]) -> float:
        return float(np.square(x - centroids[assignment]).sum())

    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(two_levels(x.copy(), 30, 1))
    (centroids, assignment), other = found
    assert centroids.tobytes() == other[0].tobytes() and assignment.tobytes() == other[1].tobytes()
    assert centroids.shape == (30, WIDTH) and centroids.dtype == np.float32 and assignment.dtype == np.int64
    for number in range(30):
        np.testing.assert_allclose(centroids[number], x[assignment == number].mean(axis=0), rtol=1e-3, atol=1e-4)
    exact = inertia(*kmeans(x.copy(), 30, 1))
    assert inertia(centroids, assignment) < 1.5 * exact < 0.1 * float(np.square(x - x.mean(0)).sum())


def test_a_large_catalogue_is_clustered_in_two_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, config = files(tmp_path), InterestsConfig(ratio=0.1, layers=0)
    written = []
    for limit in (ITEMS * 6, ITEMS * 6 - 1):
        monkeypatch.setattr(clustering, "EXACT", limit)
        cluster(settings=config, **given, features=tmp_path / "text", interests=tmp_path / "interests")
        written.append(read_arrays(tmp_path / "interests")[0]["assignment"].tolist())
    assert written == [each(blobs(), 6, config.seed)[1].tolist() for each in (kmeans, two_levels)]
    assert written[0] != written[1]


def files(folder: Path) -> dict[str, Path]:
    """A data set; its items stand in another order in the files text and image, and one has no picture."""
    names = [f"i{index}" for index in range(ITEMS)]
    write_vocab(folder / "vocab.parquet", names)
    write_sparse(folder / "s.npz", graph())
    present = np.ones(ITEMS, dtype=bool)
    FeatureFile(blobs()[::-1].copy(), present, names[::-1]).write(folder / "text")
    without = present.copy()
    without[ITEMS - 1 - 7] = False
    FeatureFile(blobs()[::-1].copy(), without, names[::-1]).write(folder / "image")
    return {"cooccurrence": folder / "s.npz", "vocab": folder / "vocab.parquet"}


@pytest.mark.parametrize("modality", ["text", "image"])
def test_files_hold_clusters_in_vocabulary_order_and_the_same_bytes_every_time(tmp_path: Path, modality: str) -> None:
    given = files(tmp_path)
    config = InterestsConfig(ratio=0.1, layers=0)
    written = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            cluster(settings=config, **given, features=tmp_path / modality, interests=tmp_path / "interests")
        written.append((tmp_path / "interests").read_bytes())
    assert written[0] == written[1] == written[2]
    arrays, _ = read_arrays(tmp_path / "interests")
    assert arrays["centroids"].shape == (6, WIDTH) and arrays["assignment"].shape == (ITEMS,)
    x = blobs()
    if modality == "image":
        x[7] = 0
    expected = kmeans(x, 6, config.seed)[1]
    assert arrays["assignment"].tolist() == expected.tolist()


def test_modalities_are_clustered_apart_and_enriched_by_one_graph(tmp_path: Path) -> None:
    given, config = files(tmp_path), InterestsConfig(ratio=0.1, gate=0.5, layers=2)
    neighbours = normalise(graph(), config.normalisation)
    wide = np.concatenate([blobs(1), blobs(2)], axis=1)
    names = [f"i{index}" for index in range(ITEMS)]
    FeatureFile(wide, np.ones(ITEMS, dtype=bool), names).write(tmp_path / "audio")
    for modality, x in (("text", blobs()), ("audio", wide)):
        cluster(settings=config, **given, features=tmp_path / modality, interests=tmp_path / "interests")
        arrays, _ = read_arrays(tmp_path / "interests")
        centroids, assignment = kmeans(enrich(x, neighbours, config.gate, config.layers), 6, config.seed)
        assert arrays["centroids"].tobytes() == centroids.tobytes() and centroids.shape == (6, x.shape[1])
        assert arrays["assignment"].tolist() == assignment.tolist()


def test_nearest_is_the_centroid_at_the_smallest_distance() -> None:
    centroids = np.array([[0, 0], [4, 0], [0, 10]], np.float32)
    x = np.array([[1, 1], [3, 1], [1, 6], [2, 0], [100, 0]], np.float32)
    # Squared distances to the three: 2 10 82 | 10 2 90 | 37 45 17 | 4 4 104 | 10000 9216 10100.
    assert nearest(x, centroids).tolist() == [0, 1, 2, 0, 1]
    assert nearest(x[:0], centroids).tolist() == []


def test_raw_features_are_assigned_to_the_clusters_of_the_enriched_ones(tmp_path: Path) -> None:
    """The first three items are bought together, and so are the other four, of which the last has no picture."""
    x = np.array([[0], [1], [2], [8], [10], [12], [0]], np.float32)
    names = [f"i{index}" for index in range(7)]
    write_vocab(tmp_path / "vocab.parquet", names)
    together = scipy.sparse.block_diag([np.ones((n, n)) - np.eye(n) for n in (3, 4)]).tocsr()
    write_sparse(tmp_path / "s.npz", together.astype(np.float32))
    FeatureFile(x, np.arange(7) != 6, names).write(tmp_path / "image")
    given = {"cooccurrence": tmp_path / "s.npz", "vocab": tmp_path / "vocab.parquet", "features": tmp_path / "image"}
    settings, found = InterestsConfig(ratio=2 / 7, gate=1.0, normalisation="row"), {}
    for assign in ("kmeans", "nearest"):
        cluster(settings=settings.model_copy(update={"assign": assign}), **given, interests=tmp_path / assign)
        found[assign], _ = read_arrays(tmp_path / assign)
    # Enriched, each row plus the mean of those bought with it: 1.5, 2, 2.5 | 15 1/3, 16 2/3, 18, 10.
    low = found["kmeans"]["assignment"][0]
    assert found["kmeans"]["centroids"].ravel()[[low, 1 - low]] == pytest.approx([2, 15])
    assert (found["kmeans"]["assignment"] == low).tolist() == [True] * 3 + [False] * 4
    # Raw, 8 is nearer to 2 than to 15. The item without a picture keeps its cluster, although 0 would be nearer to 2.
    assert found["nearest"]["centroids"].tolist() == found["kmeans"]["centroids"].tolist()
    assert (found["nearest"]["assignment"] == low).tolist() == [True] * 4 + [False] * 3
    assert "assign" not in settings.model_dump(), "the tracked values of interests that had no such key stay the same"


def test_there_is_at_least_one_cluster(tmp_path: Path) -> None:
    given, config = files(tmp_path), InterestsConfig(ratio=1e-4, layers=0)
    cluster(settings=config, **given, features=tmp_path / "text", interests=tmp_path / "interests")
    arrays, _ = read_arrays(tmp_path / "interests")
    assert arrays["centroids"].shape == (1, WIDTH) and not arrays["assignment"].any()


def test_an_absent_picture_is_the_zero_vector(tmp_path: Path) -> None:
    given = files(tmp_path)
    config = InterestsConfig(ratio=0.1, layers=0)
    cluster(settings=config, **given, features=tmp_path / "image", interests=tmp_path / "i")
    x = blobs()
    x[7] = 0
    expected = kmeans(x, 6, 0)[1]
    assert read_arrays(tmp_path / "i")[0]["assignment"].tolist() == expected.tolist()


def test_a_graph_of_other_items_is_refused(tmp_path: Path) -> None:
    given = files(tmp_path)
    write_sparse(tmp_path / "s.npz", graph()[:10, :10])
    for modality in ("text", "image"):
        with pytest.raises(DecorecError, match=r"60 x 60.*found 10 x 10"):
            cluster(settings=InterestsConfig(), **given, features=tmp_path / modality, interests=tmp_path / "i")
        assert not (tmp_path / "i").exists()


def test_features_of_other_items_are_refused(tmp_path: Path) -> None:
    given = files(tmp_path)
    FeatureFile(blobs()[:5], np.ones(5, dtype=bool), [f"i{n}" for n in range(5)]).write(tmp_path / "image")
    with pytest.raises(DecorecError, match=r"image: expected a row for each of 60 items.*'i5'"):
        cluster(settings=InterestsConfig(), **given, features=tmp_path / "image", interests=tmp_path / "i")
    assert not (tmp_path / "i").exists()
