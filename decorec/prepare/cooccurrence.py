"""Step cooccurrence: counts which items occur together in training sequences, weighted by closeness (eq. 1)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.artifacts.files import write_sparse
from decorec.config.prepare import GraphConfig
from decorec.data.contract import check_matrix
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError

__all__ = ["cooccurrence", "count_pairs"]

log = logging.getLogger("decorec")
PAIRS_PER_BLOCK = 4_000_000
"""Ordered pairs of positions in a block of rows; one worker counts a block at a time."""


def cooccurrence(*, settings: GraphConfig, vocab: Path, sequences: Path, matrix: Path, threads: int = 1) -> None:
    """Count co-occurrences in the training part of all sequences (eq. 1).

    Args:
        settings: the section graph of the configuration: distance weights, window, and number of entries that are kept.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); held-out items are not counted.
        matrix: cooccurrence.npz (written): S [items, items], CSR float32, symmetric, zero diagonal.
        threads: number of workers; it does not change a byte of the result.

    Raises:
        DecorecError: the sequences have items outside of the vocabulary, or a user has fewer than three items.
    """
    items = len(read_vocab(vocab))
    everything = Sequences.read(sequences)
    if len(everything.items) and int(everything.items.max()) >= items:
        raise DecorecError(
            f"{sequences}: expected item indices below {items} (the items of {vocab}), found "
            f"{everything.items.max()}; run the split step again"
        )
    training = everything.training()
    counted = count_pairs(training, items, settings, threads=threads)
    _assert_training_only(counted, training)
    check_matrix(matrix, counted)
    write_sparse(matrix, counted)
    log.info("cooccurrence: %d training interactions, %d items, %d non-zeros", len(training.items), items, counted.nnz)


def count_pairs(
    sequences: Sequences, items: int, graph: GraphConfig, *, threads: int = 1, block: int = PAIRS_PER_BLOCK
) -> Any:
    """S_ij = sum over users and ordered pairs of positions p != q holding i != j of weight(|p - q|) (eq. 1).

    Weights are rounded to integers, whose sums are exact. Neither ``block`` nor ``threads`` changes the result. With
    ``graph.top`` a worker holds all entries of one block; of the others, only those that are kept.

    Args:
        sequences: the training part.
        items: number of items.
        graph: distance weights, window, and number of entries that are kept.
        threads: number of workers.
        block: the rows are divided into blocks of about this many pairs; one worker counts a block over all users.

    Returns:
        CSR float32 [items, items], symmetric, zero diagonal, sorted indices.
    """
    import scipy.sparse
    from dask.delayed import delayed

    from decorec.prepare.cooccurrence_kernels import places

    longest = int(sequences.lengths.max(initial=1))
    window = longest if graph.window == "all" else min(longest, graph.window)
    # Large arrays are allocated here, because numpy uses huge pages and compiled loops do not.
    seen = np.empty((len(sequences.items), 3), np.int32)
    first, pairs = places(sequences.items, sequences.offsets, items, window, seen)
    weights, unit = _weights(window, graph.distance, int(np.diff(first).max(initial=1)))
    most = np.minimum(np.diff(pairs), items)
    room = np.concatenate([[0], np.cumsum(most if graph.top is None else np.minimum(most, graph.top))])
    columns, sums = np.empty(room[-1], np.int32), np.empty(room[-1], np.float32)
    blocks = list(_blocks(pairs, block))
    tasks: list[Any] = []
    for begin, stop in blocks:
        own = slice(room[begin], room[stop])
        known = (first, seen, sequences.items, pairs, weights, unit)
        every = int(most[begin:stop].sum())
        tasks.append(delayed(_count_block)(begin, stop, known, columns[own], sums[own], every, graph.top))
    counts = delayed(tasks).compute(scheduler="threads", num_workers=threads)
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    for array in (columns, sums):
        # In place, so that the largest arrays exist only once.
        for begin, stop in blocks:
            array[ends[begin] : ends[stop]] = array[room[begin] : room[begin] + ends[stop] - ends[begin]]
        array.resize(ends[-1], refcheck=False)
    matrix = scipy.sparse.csr_matrix((sums, columns, ends), shape=(items, items))
    matrix.has_canonical_format = True
    # S_ij equals S_ji, so that the larger one is the entry that was kept in one of the two rows, or in both.
    return matrix if graph.top is None else matrix.maximum(matrix.T.tocsr())


def _count_block(
    begin: int,
    stop: int,
    known: tuple[Any, ...],
    columns: npt.NDArray[np.int32],
    sums: npt.NDArray[np.float32],
    every: int,
    top: int | None,
) -> npt.NDArray[np.int64]:
    """``count_rows``, of whose at most ``every`` entries the ``top`` largest of a row are kept."""
    from decorec.prepare.cooccurrence_kernels import count_rows, keep_largest

    if top is None:
        return count_rows(begin, stop, *known, columns, sums)
    all_columns, all_sums = np.empty(every, np.int32), np.empty(every, np.float32)
    counts = count_rows(begin, stop, *known, all_columns, all_sums)
    return keep_largest(counts, all_columns, all_sums, top, columns, sums)


def _weights(window: int, distance: str, places: int) -> tuple[npt.NDArray[np.int64], float]:
    """Weights of the distances 0 (weight 0) to ``window`` as integers, and their unit.

    The unit is as small as int64 allows for the largest possible sum: that of an item at ``places`` positions with the
    same other item at all distances on both sides.
    """
    distances = np.arange(1, window + 1)
    exact = {"1/D": 1 / distances, "1/(D+1)": 1 / (distances + 1), "1": np.ones(window)}[distance]
    bits = min(52, 62 - math.ceil(math.log2(max(1.0, 2 * exact.sum() * places))))
    return np.concatenate([[0], np.rint(exact * 2.0**bits)]).astype(np.int64), 2.0**-bits


def _blocks(pairs: npt.NDArray[np.int64], block: int) -> Iterator[tuple[int, int]]:
    """Divide the rows into blocks of about ``block`` pairs; ``pairs`` [items + 1]: pairs in the rows before."""
    cuts = np.flatnonzero(np.diff(pairs[:-1] // block)) + 1
    yield from pairwise([0, *cuts.tolist(), len(pairs) - 1])


def _assert_training_only(matrix: Any, training: Sequences) -> None:
    """Check that every item with a neighbour occurs in a training sequence."""
    trained = np.zeros(matrix.shape[0], dtype=bool)
    trained[training.items] = True
    assert not (np.diff(matrix.indptr) > 0)[~trained].any()
