"""Step cooccurrence: counts which items occur together in training sequences, weighted by closeness (eq. 1)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decorec.artifacts.files import write_sparse
from decorec.config.dask import DaskConfig
from decorec.config.prepare import GraphConfig
from decorec.data.contract import check_matrix
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.prepare.cooccurrence_blocks import matrix_of, pair_weights, row_blocks
from decorec.prepare.cooccurrence_parts import count_on_workers
from decorec.prepare.dask_workers import workers

__all__ = ["cooccurrence", "count_pairs"]

log = logging.getLogger("decorec")
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

PAIRS_PER_BLOCK = 4_000_000
"""Ordered pairs of positions in a block of rows; one worker counts a block at a time."""


def cooccurrence(
    *,
    settings: GraphConfig,
    vocab: Path,
    sequences: Path,
    matrix: Path,
    dask: DaskConfig | None = None,
    threads: int = 1,
) -> None:
    """Count co-occurrences in the training part of all sequences (eq. 1).

    Args:
        settings: the section graph of the configuration: distance weights, window, and number of entries that are kept.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); held-out items are not counted.
        matrix: cooccurrence.npz (written): S [items, items], CSR float32, symmetric, zero diagonal.
        dask: the section dask of the configuration: who counts; it does not change a byte of the result.
        threads: number of threads, or of processes if dask.scheduler is local; nor does it.

    Raises:
        DecorecError: the sequences have items outside of the vocabulary, a part of a user's outside of its items, or
            the workers cannot be used.
    """
    items = len(read_vocab(vocab))
    if dask is None or dask.scheduler is None:
        training = _training(sequences, items, vocab)
        interactions = np.bincount(training.items, minlength=items)
        counted = count_pairs(training, items, settings, threads=threads)
    else:
        with workers(dask, threads) as client:
            counted, interactions = count_on_workers(client, sequences, items, settings)
    assert not (np.diff(counted.indptr) > 0)[interactions == 0].any(), "neighbours of training items alone"
    check_matrix(matrix, counted)
    write_sparse(matrix, counted)
    log.info("cooccurrence: %d training interactions, %d items, %d non-zeros", interactions.sum(), items, counted.nnz)


def _training(sequences: Path, items: int, vocab: Path) -> Sequences:
    """The training part of all sequences, whose items are those of the vocabulary."""
    everything = Sequences.read(sequences)
    if len(everything.items) and int(everything.items.max()) >= items:
        raise DecorecError(
            f"{sequences}: expected item indices below {items} (the items of {vocab}), found "
            f"{everything.items.max()}; run the split step again"
        )
    return everything.training()


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
    from dask.delayed import delayed

    from decorec.prepare.cooccurrence_kernels import places

    longest = int(sequences.lengths.max(initial=1))
    window = longest if graph.window == "all" else min(longest, graph.window)
    # Large arrays are allocated here, because numpy uses huge pages and compiled loops do not.
    seen = np.empty((len(sequences.items), 3), np.int32)
    first, pairs = places(sequences.items, sequences.offsets, items, window, seen)
    weights, unit = pair_weights(window, graph.distance, int(np.diff(first).max(initial=1)))
    most = np.minimum(np.diff(pairs), items)
    room = np.concatenate([[0], np.cumsum(most if graph.top is None else np.minimum(most, graph.top))])
    columns, sums = np.empty(room[-1], np.int32), np.empty(room[-1], np.float32)
    blocks = row_blocks(pairs, block)
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
    return matrix_of(counts, columns, sums, graph.top)


def _count_block(
    begin: int,
    stop: int,
    known: tuple[Longs, Ints, Ints, Longs, Longs, float],
    columns: Ints,
    sums: npt.NDArray[np.float32],
    every: int,
    top: int | None,
) -> Longs:
    """``count_rows``, of whose at most ``every`` entries the ``top`` largest of a row are kept."""
    from decorec.prepare.cooccurrence_kernels import count_rows, keep_largest

    if top is None:
        return count_rows(begin, stop, *known, columns, sums)
    all_columns, all_sums = np.empty(every, np.int32), np.empty(every, np.float32)
    counts = count_rows(begin, stop, *known, all_columns, all_sums)
    return keep_largest(counts, all_columns, all_sums, top, columns, sums)
