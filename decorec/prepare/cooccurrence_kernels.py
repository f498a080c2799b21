"""Compiled loops that count co-occurrences: complete rows of the matrix, one item after the other.

Weights are integers. Their sums are exact and do not depend on the order, so that S_ij equals S_ji to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["count_rows", "keep_largest", "places"]

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

DENSE = 8
"""A row with pairs for more than 1 / DENSE of the items is summed in a dense row; other rows are sorted."""
FEW = 32
"""Up to this many keys are sorted by insertion."""


@njit(nogil=True, cache=True)
def places(flat: Ints, offsets: Longs, items: int, window: int, seen: Ints) -> tuple[Longs, Longs]:
    """The positions of each item, and the positions within the window around them.

    Args:
        flat: [interactions] items, user after user.
        offsets: [users + 1] user u has ``flat[offsets[u]:offsets[u + 1]]``.
        items: number of items.
        window: largest distance that counts.
        seen: [interactions, 3] is filled, sorted by item: a position, and the first and the end of the positions within
            its window, itself included.

    Returns:
        first [items + 1]: item i has the rows ``first[i]:first[i + 1]`` of ``seen``; pairs [items + 1]: number of other
        positions within the windows of the items before i.
    """
    first = np.zeros(items + 1, np.int64)
    for item in flat:
        first[item + 1] += 1
    _accumulate(first)
    free = first[:-1].copy()
    for user in range(len(offsets) - 1):
        for position in range(offsets[user], offsets[user + 1]):
            place = free[flat[position]]
            free[flat[position]] = place + 1
            seen[place, 0] = position
            seen[place, 1] = max(offsets[user], position - window)
            seen[place, 2] = min(offsets[user + 1], position + window + 1)
    pairs = np.zeros(items + 1, np.int64)
    for item in range(items):
        for place in range(first[item], first[item + 1]):
            pairs[item + 1] += seen[place, 2] - seen[place, 1] - 1
    _accumulate(pairs)
    return first, pairs


@njit(nogil=True, cache=True)
def _accumulate(counts: Longs) -> None:
    """Cumulative sums, in place."""
    for index in range(1, len(counts)):
        counts[index] += counts[index - 1]


@njit(nogil=True, cache=True)
def count_rows(
    begin: int,
    stop: int,
    first: Longs,
    seen: Ints,
    flat: Ints,
    pairs: Longs,
    weights: Longs,
    unit: float,
    columns: Ints,
    sums: Floats,
) -> Longs:
    """Rows ``begin`` to ``stop`` of the matrix, one after the other, without gaps.

    Args:
        begin, stop: the first row, and the one after the last.
        first, seen, pairs: from :func:`places`.
        flat: [interactions] items.
        weights: [distances] weight of a pair by distance, in units of ``unit``; 0 only for the distance 0.
        unit: factor of the sums.
        columns, sums: [large enough for all entries] are filled from the start; columns ascend within a row.

    Returns:
        counts [rows]: number of non-zeros of each row.
    """
    items = len(first) - 1
    dense = items // DENSE
    bits = _bits(len(weights))
    longest = np.int64(0)
    for item in range(begin, stop):
        if pairs[item + 1] - pairs[item] <= dense:
            longest = max(longest, pairs[item + 1] - pairs[item])
    keys, spare = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    row = np.zeros(items, np.int64)
    counts = np.empty(stop - begin, np.int64)
    size = 0
    for item in range(begin, stop):
        start = size
        if pairs[item + 1] - pairs[item] <= dense:
            found = _keys(seen[first[item] : first[item + 1]], flat, bits, keys)
            _sort(keys[:found], spare, bits, _bits(items))
            size = _sum_keys(keys[:found], item, bits, weights, unit, columns, sums, size)
        else:
            for place in range(first[item], first[item + 1]):
                for other in range(seen[place, 1], seen[place, 2]):
                    row[flat[other]] += weights[abs(seen[place, 0] - other)]
            row[item] = 0
            for column in range(items):
                if row[column]:
                    columns[size], sums[size] = column, row[column] * unit
                    size += 1
                    row[column] = 0
        counts[item - begin] = size - start
    return counts


@njit(nogil=True, cache=True)
def keep_largest(counts: Longs, columns: Ints, sums: Floats, top: int, kept_columns: Ints, kept_sums: Floats) -> Longs:
    """The ``top`` largest entries of each row; of equal ones those of the first columns.

    Args:
        counts: [rows] number of entries of each row.
        columns, sums: the entries, row after row; sums are positive.
        top: number of entries that are kept.
        kept_columns, kept_sums: [large enough] are filled from the start, in the order of the entries.

    Returns:
        [rows] number of entries that are kept.
    """
    kept = np.empty_like(counts)
    keys = sums.view(np.uint32)  # in the order of the sums, because these are positive
    size = stop = np.int64(0)
    for row in range(len(counts)):
        begin, stop = stop, stop + counts[row]
        kept[row] = min(counts[row], top)
        least, room = np.uint64(0), 0
        if kept[row] < counts[row]:
            least, room = _least(keys[begin:stop], top)
        for place in range(begin, stop):
            key = np.uint64(keys[place])
            if key > least or (key == least and room > 0):
                kept_columns[size], kept_sums[size] = columns[place], sums[place]
                size += 1
                room -= key == least
    return kept


@njit(nogil=True, cache=True)
def _least(keys: npt.NDArray[np.uint32], top: int) -> tuple[np.uint64, int]:
    """The least of the ``top`` largest keys of 32 bits, byte by byte, and how many keys equal to it are among them."""
    least, known = np.uint64(0), np.uint64(0)
    found = np.empty(256, np.int64)
    for shift in (np.uint64(24), np.uint64(16), np.uint64(8), np.uint64(0)):
        found[:] = 0
        for index in range(len(keys)):
            key = np.uint64(keys[index])
            if key & known == least:
                found[key >> shift & np.uint64(255)] += 1
        digit = 255
        while found[digit] < top:
            top -= found[digit]
            digit -= 1
        least |= np.uint64(digit) << shift
        known |= np.uint64(255) << shift
    return least, top


@njit(nogil=True, cache=True)
def _bits(bound: int) -> int:
    """Number of bits of the numbers below ``bound``."""
    bits = 0
    while bound - 1 >> bits:
        bits += 1
    return bits


@njit(nogil=True, cache=True)
def _keys(seen: Ints, flat: Ints, bits: int, keys: Keys) -> int:
    """Write column and distance (the lower ``bits``) of all positions in some windows; returns their number."""
    found = 0
    for place in range(len(seen)):
        position = seen[place, 0]
        for other in range(seen[place, 1], seen[place, 2]):
            # Always written, and kept if it is another position: a branch could not be predicted.
            keys[found] = np.uint64(flat[other]) << np.uint64(bits) | np.uint64(abs(other - position))
            found += other != position
    return found


@njit(nogil=True, cache=True)
def _sum_keys(
    keys: Keys, item: int, bits: int, weights: Longs, unit: float, columns: Ints, sums: Floats, size: int
) -> int:
    """Write one entry for each column of sorted keys, except the item itself; returns the end of the entries."""
    distances = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    total, last = np.int64(0), np.int64(-1)
    for key in keys:
        column = np.int64(key >> np.uint64(bits))
        if column == item:
            continue
        # Every sum is written as it grows: a branch at its end could not be predicted.
        total = weights[key & distances] + (total if column == last else np.int64(0))
        size += column != last
        last = column
        columns[size - 1], sums[size - 1] = column, total * unit
    return size


@njit(nogil=True, cache=True)
def _sort(keys: Keys, spare: Keys, low: int, bits: int) -> None:
    """Sort keys in place by ``bits`` bits from ``low`` on: by insertion if they are few, else digit by digit."""
    size = len(keys)
    if size <= FEW:
        for index in range(1, size):
            key = keys[index]
            free = index
            while free > 0 and keys[free - 1] > key:
                keys[free] = keys[free - 1]
                free -= 1
            keys[free] = key
        return
    digits = (bits + 7) // 8
    width = (bits + digits - 1) // digits
    mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    free_of = np.empty((1 << width) + 1, np.int64)
    source, target = keys, spare
    for digit in range(digits):
        shift = np.uint64(low + digit * width)
        free_of[:] = 0
        for index in range(size):
            free_of[(source[index] >> shift & mask) + np.uint64(1)] += 1
        _accumulate(free_of)
        for index in range(size):
            place = source[index] >> shift & mask
            target[free_of[place]] = source[index]
            free_of[place] += 1
        source, target = target, source
    if digits % 2:
        keys[:] = spare[:size]
