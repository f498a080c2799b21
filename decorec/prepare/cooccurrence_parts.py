"""Counts co-occurrences on the workers of a dask cluster: some users each, by the loops that count in one process.

A part is some of the users; a block is some of the rows. A worker counts the rows of a block over the users of a part,
as integers, whose sums do not depend on the order. The counts of all parts are added up in a tree and become entries of
the matrix as they do in one process. All that a worker holds comes from the file of sequences, so that another one can
make again what was lost with it. Few blocks are under way at a time, and each is taken over when it is complete.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_table
from decorec.config.prepare import GraphConfig
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.prepare.cooccurrence_blocks import matrix_of, pair_weights, row_blocks
from decorec.prepare.dask_workers import result_of, running

__all__ = ["count_on_workers"]

P = ParamSpec("P")
T = TypeVar("T")
Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Known = tuple[Longs, Ints, Ints, Longs]
"""first, seen, items and pairs of a part, as ``cooccurrence_kernels.count_rows`` takes them."""

PARTS = 16
"""There are as many parts at least, for workers that come later."""
DEFAULT_MEMORY = 4_000_000_000
"""Bytes of a worker that has no limit."""
INTERACTION_BYTES, PART_SHARE = 16, 8
"""Bytes of an interaction of a part; a part has one of so many shares of the memory of a thread."""
PAIR_BYTES, BLOCK_SHARE = 36, 4
"""The same for the pairs of a block, while two counts of it are added."""


def count_on_workers(
    client: Any, sequences: Path, items: int, graph: GraphConfig, *, part: int | None = None, block: int | None = None
) -> tuple[Any, Longs]:
    """The matrix of ``cooccurrence.count_pairs``, to the last byte, and the training interactions of each item.

    Args:
        client: of the dask cluster.
        sequences: sequences.parquet (read, by the workers as well).
        items: number of items.
        graph: distance weights, window, and number of entries that are kept.
        part: interactions of a part. Default: by the memory of the workers, so that each has some.
        block: pairs of a block. Default: the same.

    Raises:
        DecorecError: an item or a training part is not within its bounds, or a worker does not see the file.
    """
    from dask.delayed import delayed

    from decorec.prepare.dask_code import CODE

    known = running(client)
    threads = max(1, sum(worker["nthreads"] for worker in known))
    memory = min(
        ((worker["memory_limit"] or DEFAULT_MEMORY) // worker["nthreads"] for worker in known), default=DEFAULT_MEMORY
    )
    lengths = read_table(sequences, {"training": pl.Int32}, only=True)["training"].to_numpy().astype(np.int64)
    part = part or min(memory // PART_SHARE // INTERACTION_BYTES, int(lengths.sum()) // max(PARTS, 2 * threads) + 1)
    longest = int(lengths.max(initial=1))
    window = longest if graph.window == "all" else min(longest, graph.window)
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // part)) + 1
    users = pairwise([0, *cuts.tolist(), len(lengths)])
    parts = client.persist([delayed(read_part)(CODE, sequences.absolute(), *some, items, window) for some in users])
    interactions, row_pairs = result_of(
        client, client.compute(_tree(add, [delayed(totals)(CODE, one) for one in parts]))
    )

    pairs = np.concatenate([[0], np.cumsum(row_pairs)])
    weights, unit = pair_weights(window, graph.distance, int(interactions.max(initial=1)))
    shared = delayed(weights)
    block = block or min(memory // BLOCK_SHARE // PAIR_BYTES, int(pairs[-1]) // threads + 1)
    blocks = (
        delayed(finished)(
            CODE, _tree(add, [delayed(count_part)(CODE, one, *rows, shared) for one in parts]), unit, graph.top
        )
        for rows in row_blocks(pairs, block)
    )
    most = np.minimum(row_pairs, items if graph.top is None else min(items, graph.top))
    return matrix_of(*_collected(_in_order(client, blocks), int(most.sum())), graph.top), interactions


def _in_order(client: Any, blocks: Iterator[Any]) -> Iterator[tuple[Longs, Ints, Floats]]:
    """The entries of one block after the other; the workers have one for each of their threads, and the next one."""
    under_way: deque[Any] = deque()
    for number, block in enumerate(blocks):
        under_way.append(client.compute(block, priority=-number))
        if len(under_way) > sum(worker["nthreads"] for worker in running(client)):
            yield result_of(client, under_way.popleft())
    while under_way:
        yield result_of(client, under_way.popleft())


def _collected(blocks: Iterator[tuple[Longs, Ints, Floats]], room: int) -> tuple[list[Longs], Ints, Floats]:
    """All entries of the matrix, at most ``room``: number in each row, columns, and sums."""
    columns, sums = np.empty(room, np.int32), np.empty(room, np.float32)  # no memory before it is written
    counts: list[Longs] = []
    stop = 0
    for count, *found in blocks:
        begin, stop = stop, stop + int(count.sum())
        columns[begin:stop], sums[begin:stop] = found
        counts.append(count)
    return counts, columns, sums


def _tree(function: Callable[[str, Any, Any], Any], values: list[Any]) -> Any:
    """All ``values`` put together, two and two."""
    from dask.delayed import delayed

    from decorec.prepare.dask_code import CODE

    while len(values) > 1:
        rest = values[len(values) // 2 * 2 :]
        values = [delayed(function)(CODE, *two) for two in zip(values[::2], values[1::2], strict=False)] + rest
    return values[0]


def task(function: Callable[P, T]) -> Callable[Concatenate[str, P], T]:
    """A function for workers, told the code of the step: a worker that has another one refuses to count with it."""

    @wraps(function)
    def checked(code: str, /, *arguments: P.args, **named: P.kwargs) -> T:
        from decorec.prepare.dask_code import CODE

        if code != CODE:
            raise DecorecError(
                f"dask.scheduler: expected workers with decorec {code}, found {CODE} at {socket.gethostname()}, "
                f"process {os.getpid()}; start it anew, with the same environment as this step"
            )
        return function(*arguments, **named)

    return checked


@task
def read_part(sequences: Path, begin: int, stop: int, items: int, window: int) -> Known:
    """What a worker has to know of the users ``begin`` to ``stop``: their training part, item by item."""
    from decorec.prepare.cooccurrence_kernels import places

    if not sequences.is_file():
        raise DecorecError(
            f"{sequences}: expected that the workers of dask.scheduler see this file, found one that does not; give "
            "them the folder under the same path"
        )
    training = Sequences.read_training(sequences, begin, stop)
    if len(training.items) and int(training.items.max()) >= items:
        raise DecorecError(
            f"{sequences}: expected item indices below {items}, found {training.items.max()}; run the split step again"
        )
    seen = np.empty((len(training.items), 3), np.int32)
    first, pairs = places(training.items, training.offsets, items, window, seen)
    return first, seen, training.items, pairs


@task
def totals(known: Known) -> Longs:
    """Interactions and pairs of each item, [2, items]."""
    first, _, _, pairs = known
    return np.stack([np.diff(first), np.diff(pairs)])


@task
def count_part(known: Known, begin: int, stop: int, weights: Longs) -> Any:
    """Rows ``begin`` to ``stop`` over the users of a part: CSR int64, in units of the weights."""
    import scipy.sparse

    from decorec.prepare.cooccurrence_kernels import count_rows

    first, seen, flat, pairs = known
    items = len(first) - 1
    room = int(np.minimum(np.diff(pairs[begin : stop + 1]), items).sum())
    columns = np.empty(room, np.int32)
    sums: Any = np.empty(room, np.int64)  # in units of 1 the loops write the integers that they have added
    counts = count_rows(begin, stop, first, seen, flat, pairs, weights, 1, columns, sums)
    ends = np.concatenate([[0], np.cumsum(counts)])
    for array in (columns, sums):
        array.resize(ends[-1], refcheck=False)
    counted = scipy.sparse.csr_matrix((sums, columns, ends), shape=(stop - begin, items))
    counted.has_canonical_format = True
    return counted


@task
def add(one: Any, other: Any) -> Any:
    """The sum of what two parts have."""
    return one + other


@task
def finished(
    counted: Any, unit: float, top: int | None
) -> tuple[Longs, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The entries of the matrix: number in each row, columns, and sums; ``top`` in a row at most."""
    from decorec.prepare.cooccurrence_kernels import keep_largest

    counts = np.diff(counted.indptr).astype(np.int64)
    columns, sums = counted.indices.astype(np.int32), (counted.data * unit).astype(np.float32)
    if top is None:
        return counts, columns, sums
    kept = int(np.minimum(counts, top).sum())
    kept_columns, kept_sums = np.empty(kept, np.int32), np.empty(kept, np.float32)
    return keep_largest(counts, columns, sums, top, kept_columns, kept_sums), kept_columns, kept_sums
