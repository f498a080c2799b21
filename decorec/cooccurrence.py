"""Which items stand together in training sequences, weighted by closeness (eq. 1)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.artifacts import write_sparse
from decorec.config import GraphConfig
from decorec.errors import DecorecError
from decorec.sequences import Sequences, read_vocab

__all__ = ["cooccurrence", "count_pairs"]

log = logging.getLogger("decorec")
PAIRS_PER_BLOCK = 4_000_000
"""Pairs of positions that one block of users may hold; about 100 bytes each while it is worked on."""


def cooccurrence(*, graph: GraphConfig, vocab: Path, sequences: Path, cooccurrence: Path, threads: int = 1) -> None:
    """Count co-occurrences in the training part of all sequences and write them as a sparse matrix.

    Written: S [items, items], CSR float32, symmetric, zero diagonal; the same bytes for any number of ``threads``.

    Raises:
        DecorecError: the sequences name items outside of the vocabulary, or a user has fewer than three.
    """
    items = len(read_vocab(vocab))
    everything = Sequences.read(sequences)
    if len(everything.items) and int(everything.items.max()) >= items:
        raise DecorecError(
            f"{sequences}: expected item indices below {items} (the items of {vocab}), found "
            f"{everything.items.max()}; run the split step again"
        )
    training = everything.training()
    matrix = count_pairs(training, items, graph, threads=threads)
    _assert_training_only(matrix, everything, training)
    write_sparse(cooccurrence, matrix)
    log.info("cooccurrence: %d training interactions, %d items, %d non-zeros", len(training.items), items, matrix.nnz)


def count_pairs(
    sequences: Sequences, items: int, graph: GraphConfig, *, threads: int = 1, block: int = PAIRS_PER_BLOCK
) -> Any:
    """S_ij = sum over users and ordered pairs of positions p != q holding i != j of weight(|p - q|) (eq. 1).

    Users are cut into blocks of about ``block`` pairs. Each block is summed in float64, the blocks are added up
    pairwise in a fixed tree, and the sum is rounded to float32 at the end: the result depends on ``block`` at most
    in the last bit, and on ``threads`` not at all.

    Returns:
        CSR float32 [items, items], symmetric, zero diagonal, sorted indices.
    """
    import scipy.sparse
    from dask.delayed import delayed

    limit = None if graph.window == "all" else graph.window
    shift = 0 if graph.distance == "1/D" else 1
    parts: list[Any] = [
        delayed(_count_block)(sequences.items[start:stop], offsets, items, limit, shift)
        for start, stop, offsets in _blocks(sequences, limit, block)
    ]
    if not parts:
        return scipy.sparse.csr_matrix((items, items), dtype=np.float32)
    while len(parts) > 1:
        pairs = [delayed(_add)(*parts[index : index + 2]) for index in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(pairs) * 2 :]
    upper = parts[0].compute(scheduler="threads", num_workers=threads).astype(np.float32)
    matrix = (upper + upper.T).tocsr()
    matrix.sort_indices()
    return matrix


def _add(left: Any, right: Any) -> Any:
    return left + right


def _blocks(sequences: Sequences, limit: int | None, block: int) -> Iterator[tuple[int, int, npt.NDArray[np.int64]]]:
    """Cut users into runs of about ``block`` pairs: (first position, end, offsets from the first position)."""
    lengths = sequences.lengths
    reach = np.clip(lengths - 1, 0, limit)
    pairs = np.cumsum(reach * lengths - reach * (reach + 1) // 2)
    if not len(pairs):
        return
    cuts = np.flatnonzero(np.diff(pairs // block)) + 1
    bounds = np.concatenate([[0], cuts, [len(lengths)]])
    for first, last in pairwise(bounds):
        offsets = sequences.offsets[first : last + 1]
        yield int(offsets[0]), int(offsets[-1]), offsets - offsets[0]


def _count_block(
    flat: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], items: int, limit: int | None, shift: int
) -> Any:
    """The upper triangle of S over some users, CSR float64: one vectorised pass per distance.

    A position takes part in distance D if D positions of the same user follow it; positions that have run out are
    dropped, so that the work is the number of pairs.
    """
    import scipy.sparse

    remaining = np.repeat(offsets[1:], np.diff(offsets)) - np.arange(len(flat)) - 1
    longest = int(remaining.max(initial=0)) if limit is None else min(limit, int(remaining.max(initial=0)))
    active = np.arange(len(flat))
    smaller, larger, weights = [], [], []
    for distance in range(1, longest + 1):
        active = active[remaining[active] >= distance]
        left, right = flat[active], flat[active + distance]
        differs = left != right
        left, right = left[differs], right[differs]
        smaller.append(np.minimum(left, right))
        larger.append(np.maximum(left, right))
        weights.append(np.full(len(left), 1.0 / (distance + shift)))
    if not weights:
        return scipy.sparse.csr_matrix((items, items), dtype=np.float64)
    entries = (np.concatenate(weights), (np.concatenate(smaller), np.concatenate(larger)))
    return scipy.sparse.coo_matrix(entries, shape=(items, items)).tocsr()


def _assert_training_only(matrix: Any, everything: Sequences, training: Sequences) -> None:
    """No held-out position was counted, and no item has a neighbour that no training sequence holds."""
    assert len(training.items) == len(everything.items) - 2 * len(everything.users)
    held_out = np.concatenate([everything.offsets[1:] - 1, everything.offsets[1:] - 2])
    kept = np.ones(len(everything.items), dtype=bool)
    kept[held_out] = False
    assert np.array_equal(everything.items[kept], training.items)
    trained = np.zeros(matrix.shape[0], dtype=bool)
    trained[training.items] = True
    assert not (np.diff(matrix.indptr) > 0)[~trained].any()
