"""Compiled loops over millions of interactions: repeated numbers and the k-core.

All of them are limited by memory access: a random access takes a hundred times as long as an addition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["peel", "possible_repeats", "tally"]

Codes = npt.NDArray[np.signedinteger[Any]]
Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@njit(nogil=True, cache=True)
def possible_repeats(numbers: Codes, marks: Bytes) -> Flags:
    """Which rows may have the same number as another row: all that do, and a few more.

    Args:
        numbers: [rows]
        marks: zeros; their count is a power of two. More marks give fewer wrong rows.
    """
    bits = np.uint64(0)
    while np.uint64(8 * len(marks)) >> bits != np.uint64(1):
        bits += np.uint64(1)
    twice = np.zeros_like(marks)
    for row in range(len(numbers)):
        place = _scatter(numbers[row], bits)
        bit = np.uint8(1 << (place & np.uint64(7)))
        place >>= np.uint64(3)
        twice[place] |= marks[place] & bit
        marks[place] |= bit
    flags = np.empty(len(numbers), np.bool_)
    for row in range(len(numbers)):
        place = _scatter(numbers[row], bits)
        flags[row] = twice[place >> np.uint64(3)] >> (place & np.uint64(7)) & np.uint64(1)
    return flags


@njit(nogil=True, cache=True)
def _scatter(value: int, bits: np.uint64) -> np.uint64:
    """The upper ``bits`` of a product with an odd constant (2^64 by the golden ratio)."""
    return (np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)) >> (np.uint64(64) - bits)


@njit(nogil=True, cache=True)
def tally(codes: Codes, counts: Counts) -> int:
    """Count codes into ``counts`` [codes], zeros; returns the number of different ones."""
    found = 0
    for code in codes:
        before = counts[code]
        found += before == 0
        counts[code] = before + 1
    return found


@njit(nogil=True, cache=True)
def peel(
    users: Counts, items: Counts, stay: Flags, user_counts: Counts, item_counts: Counts, k: int
) -> tuple[int, int, int, int, int]:
    """One pass of the k-core: interactions that stay move to the start, in order; the counts lose the others.

    Args:
        users, items: [interactions] codes.
        stay: [interactions] working memory.
        user_counts, item_counts: interactions of each code.
        k: least number of interactions of a user and of an item.

    Returns:
        interactions that stay; dropped ones of users below ``k``; other dropped ones, of items below ``k``; users and
        items that have none left.
    """
    left = small_users = small_items = users_gone = items_gone = 0
    for index in range(len(users)):
        user, item = user_counts[users[index]] >= k, item_counts[items[index]] >= k
        small_users += not user
        small_items += user & (not item)
        stay[index] = user & item
    for index in range(len(users)):
        user, item = users[index], items[index]
        if stay[index]:
            users[left], items[left] = user, item
            left += 1
        else:
            user_counts[user] -= 1
            item_counts[item] -= 1
            users_gone += user_counts[user] == 0
            items_gone += item_counts[item] == 0
    return left, small_users, small_items, users_gone, items_gone
