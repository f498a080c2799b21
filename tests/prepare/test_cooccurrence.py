"""Co-occurrence against a double loop; the same bytes for any number of workers; the training part alone."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decorec.artifacts.files import read_sparse
from decorec.config.datasets import AtomicDataset
from decorec.config.prepare import GraphConfig
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.plan.sharing import as_json
from decorec.prepare.atomic import atomic
from decorec.prepare.cooccurrence import cooccurrence, count_pairs
from tests.support import small

ITEMS = 7
Walks = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=12), max_size=8)
Windows = st.one_of(st.just("all"), st.integers(1, 6))
SCIENTIFIC = Path("data/scientific")


def ragged(walks: list[list[int]]) -> Sequences:
    offsets = np.concatenate([[0], np.cumsum([len(walk) for walk in walks])]).astype(np.int64)
    flat = np.array([item for walk in walks for item in walk], dtype=np.int32)
    return Sequences([f"u{index}" for index in range(len(walks))], offsets, flat)


def naive(walks: list[list[int]], graph: GraphConfig) -> Any:
    """Every ordered pair of positions, one by one."""
    matrix = np.zeros((ITEMS, ITEMS))
    shift = 1 if graph.distance == "1/(D+1)" else 0
    for walk in walks:
        for p, left in enumerate(walk):
            for q, right in enumerate(walk):
                distance = abs(p - q)
                if left != right and (graph.window == "all" or distance <= graph.window):
                    matrix[left, right] += 1 / (distance + shift)
    return matrix


@given(Walks, st.sampled_from(["1/D", "1/(D+1)"]), Windows, st.integers(1, 60))
@settings(deadline=None)
def test_equals_the_double_loop(walks: list[list[int]], distance: Any, window: Any, block: int) -> None:
    graph = GraphConfig(distance=distance, window=window)
    matrix = count_pairs(ragged(walks), ITEMS, graph, block=block)
    expected = naive(walks, graph)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6)
    assert matrix.nnz == np.count_nonzero(expected)
    assert matrix.dtype == np.float32
    assert (matrix != matrix.T).nnz == 0
    assert not matrix.diagonal().any()


@given(Walks, st.sampled_from(["1/D", "1"]), Windows, st.integers(1, 7), st.integers(1, 60), st.integers(1, 3))
@settings(deadline=None)
def test_the_largest_entries_are_kept(
    walks: list[list[int]], distance: Any, window: Any, top: int, block: int, threads: int
) -> None:
    """Of equal ones the first; an entry that one of its two items keeps is there for both."""
    whole = count_pairs(ragged(walks), ITEMS, GraphConfig(distance=distance, window=window)).toarray()
    expected = np.zeros_like(whole)
    for item, row in enumerate(whole):
        for other in sorted(np.flatnonzero(row), key=lambda other: (-row[other], other))[:top]:
            expected[item, other] = expected[other, item] = row[other]
    graph = GraphConfig(distance=distance, window=window, top=top)
    matrix = count_pairs(ragged(walks), ITEMS, graph, threads=threads, block=block)
    assert matrix.toarray().tolist() == expected.tolist()
    assert matrix.nnz == np.count_nonzero(expected)
    assert matrix.has_canonical_format and matrix.dtype == np.float32


def test_memory_holds_the_entries_that_are_kept_and_one_block() -> None:
    """One customer with 2,000 items: four million entries of eight bytes."""
    customer = ragged([list(range(2_000))])

    def most(graph: GraphConfig) -> int:
        tracemalloc.start()
        count_pairs(customer, 2_000, graph, block=50_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert most(GraphConfig()) > 32_000_000 > 10 * most(GraphConfig(top=20))


def test_worker_counts_give_the_same_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    walks = [random.integers(0, 300, random.integers(3, 60)).tolist() for _ in range(200)]
    vocab, sequences = tmp_path / "vocab.parquet", tmp_path / "sequences.parquet"
    write_vocab(vocab, [f"i{index}" for index in range(300)])
    ragged(walks).write(sequences)
    training = Sequences.read(sequences).training()
    matrices = [count_pairs(training, 300, GraphConfig(), threads=n, block=500) for n in (1, 2, 4)]
    for matrix in matrices[1:]:
        assert matrix.data.tobytes() == matrices[0].data.tobytes()
        assert matrix.indices.tobytes() == matrices[0].indices.tobytes()
    digests = set()
    for threads in (1, 2, 4):
        target = tmp_path / f"{threads}.npz"
        cooccurrence(settings=GraphConfig(), vocab=vocab, sequences=sequences, matrix=target, threads=threads)
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1
    assert as_json(GraphConfig()) == '{"distance": "1/D", "window": "all"}', "tracked as before there was a key top"


def test_held_out_items_are_not_counted(tmp_path: Path) -> None:
    """Items 3 and 4 stand in held-out places only; item 0 also stands in a held-out place, next to 2."""
    vocab, sequences, target = tmp_path / "vocab.parquet", tmp_path / "sequences.parquet", tmp_path / "s.npz"
    write_vocab(vocab, list("abcde"))
    ragged([[0, 1, 3, 4], [0, 1, 2, 2, 0], [1, 3, 4]]).write(sequences)
    cooccurrence(settings=GraphConfig(), vocab=vocab, sequences=sequences, matrix=target)
    expected = np.zeros((5, 5), dtype=np.float32)
    expected[0, 1] = expected[1, 0] = 2
    expected[1, 2] = expected[2, 1] = 1
    expected[0, 2] = expected[2, 0] = 0.5
    assert read_sparse(target).toarray().tolist() == expected.tolist()


def test_a_short_sequence_is_refused(tmp_path: Path) -> None:
    vocab, sequences, target = tmp_path / "vocab.parquet", tmp_path / "sequences.parquet", tmp_path / "s.npz"
    write_vocab(vocab, list("abc"))
    with pytest.raises(DecorecError, match=r"at least 3 items per user.*found 2 for user 'u1'"):
        ragged([[0, 1, 2], [0, 1]]).write(sequences)
    ragged([[0, 1, 2], [0, 1, 2]]).write(sequences)
    moved = pl.Series("test", [2, 3], dtype=pl.Int32)
    pl.read_parquet(sequences).with_columns(moved).write_parquet(sequences)
    with pytest.raises(
        DecorecError, match=r"sequences.parquet: expected .* test 3 for user 'u1' with 3 items; run the"
    ):
        cooccurrence(settings=GraphConfig(), vocab=vocab, sequences=sequences, matrix=target)
    assert not target.exists()


def test_by_time_nothing_after_the_training_part_is_counted(tmp_path: Path) -> None:
    data = small.by_time(small.sequences())
    vocab, found = tmp_path / "vocab.parquet", []
    write_vocab(vocab, [f"i{number}" for number in range(40)])
    training = data.training()
    for number, sequences in enumerate((data, training.of(np.flatnonzero(training.lengths)))):
        file, target = tmp_path / f"{number}.parquet", tmp_path / f"{number}.npz"
        sequences.write(file)
        cooccurrence(settings=GraphConfig(), vocab=vocab, sequences=file, matrix=target)
        found.append(read_sparse(target))
    assert found[0].nnz and (found[0] != found[1]).nnz == 0


def test_sequences_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    vocab, sequences, target = tmp_path / "vocab.parquet", tmp_path / "sequences.parquet", tmp_path / "s.npz"
    write_vocab(vocab, list("abc"))
    ragged([[0, 1, 5]]).write(sequences)
    with pytest.raises(DecorecError, match=r"item indices below 3.*found 5"):
        cooccurrence(settings=GraphConfig(), vocab=vocab, sequences=sequences, matrix=target)
    assert not target.exists()


@pytest.mark.skipif(not SCIENTIFIC.exists(), reason="real data not at data/scientific")
def test_scientific_has_the_published_number_of_non_zeros(tmp_path: Path) -> None:
    names = ("catalogue", "vocab", "sequences", "statistics")
    files = {name: tmp_path / name for name in names}
    atomic(dataset=AtomicDataset(source="atomic", path=str(SCIENTIFIC), name="Scientific"), **files)
    target = tmp_path / "s.npz"
    cooccurrence(
        settings=GraphConfig(distance="1/(D+1)"),
        vocab=files["vocab"],
        sequences=files["sequences"],
        matrix=target,
    )
    assert read_sparse(target).nnz == 61_418
