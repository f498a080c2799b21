"""Compiled loops behind the co-occurrence counts: whole rows of the matrix, one item after the other.

Weights are integers: their sums are exact, so that they depend on no order, and S_ij equals S_ji to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["count_rows", "places"]

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def places(flat: Ints, offsets: Longs, items: int, window: int) -> tuple[Longs, Ints, Longs]:
    """Where each item stands, and what it sees from there.

    Args:
        flat: [interactions] items, user after user.
        offsets: [users + 1] user u owns ``flat[offsets[u]:offsets[u + 1]]``.
        items: number of items.
        window: largest distance that is seen.

    Returns:
        first [items + 1]: item i has the places ``first[i]:first[i + 1]``; seen [interactions, 3]: position of each
        place, and the first and the end of the positions that it sees, itself included; pairs [items + 1]: how many
        other positions are seen from the places of the items before i.
    """
    first = np.zeros(items + 1, np.int64)
    for item in flat:
        first[item + 1] += 1
    _accumulate(first)
    free = first[:-1].copy()
    seen = np.empty((len(flat), 3), np.int32)
    pairs = np.zeros(items + 1, np.int64)
    for user in range(len(offsets) - 1):
        for position in range(offsets[user], offsets[user + 1]):
            item = flat[position]
            start = max(offsets[user], position - window)
            end = min(offsets[user + 1], position + window + 1)
            place = free[item]
            seen[place, 0], seen[place, 1], seen[place, 2] = position, start, end
            free[item] = place + 1
            pairs[item + 1] += end - start - 1
    _accumulate(pairs)
    return first, seen, pairs


@njit(nogil=True, cache=True)
def _accumulate(counts: Longs) -> None:
    """Cumulative sums, in place."""
    for index in range(1, len(counts)):
        counts[index] += counts[index - 1]


@njit(nogil=True, cache=True)
def count_rows(
    begin: int, stop: int, first: Longs, seen: Ints, flat: Ints, weights: Longs, unit: float, room: int
) -> tuple[Ints, Floats, Longs]:
    """Rows ``begin`` to ``stop`` of the matrix.

    Args:
        begin, stop: the first row, and the one after the last.
        first, seen: from :func:`places`.
        flat: [interactions] items.
        weights: [distances] weight of a pair by distance, counted in ``unit``; 0 for the distance 0 alone.
        unit: what is multiplied to the sums.
        room: number of pairs of these rows.

    Returns:
        columns [non-zeros], ascending within a row; sums [non-zeros]; counts [rows]: non-zeros of each row.
    """
    items = len(first) - 1
    columns = np.empty(room + 1, np.int32)
    sums = np.empty(room, np.float32)
    counts = np.empty(stop - begin, np.int64)
    row = np.zeros(items, np.int64)
    spare = np.empty(min(items, room), np.int32)
    size = 0
    for item in range(begin, stop):
        start = size
        for place in range(first[item], first[item + 1]):
            position = seen[place, 0]
            for other in range(seen[place, 1], seen[place, 2]):
                column = flat[other]
                before = row[column]
                # Written in any case and kept if it is new: a branch could not be predicted.
                columns[size] = column
                size += (before == 0) & (column != item)
                row[column] = before + weights[abs(position - other)]
        row[item] = 0
        _sort(columns[start:size], spare, items)
        for index in range(start, size):
            sums[index] = row[columns[index]] * unit
            row[columns[index]] = 0
        counts[item - begin] = size - start
    return columns[:size].copy(), sums[:size].copy(), counts


@njit(nogil=True, cache=True)
def _sort(values: Ints, spare: Ints, bound: int) -> None:
    """Sort numbers from 0 to below ``bound`` in place: by insertion where they are few, else by their bytes."""
    size = len(values)
    if size <= 24:
        for index in range(1, size):
            value = values[index]
            free = index
            while free > 0 and values[free - 1] > value:
                values[free] = values[free - 1]
                free -= 1
            values[free] = value
        return
    source, target = values, spare
    shift = 0
    while bound - 1 >> shift:
        free_of = np.zeros(257, np.int64)
        for index in range(size):
            free_of[(source[index] >> shift & 255) + 1] += 1
        _accumulate(free_of)
        for index in range(size):
            byte = source[index] >> shift & 255
            target[free_of[byte]] = source[index]
            free_of[byte] += 1
        source, target = target, source
        shift += 8
    if shift // 8 % 2:
        for index in range(size):
            values[index] = spare[index]
