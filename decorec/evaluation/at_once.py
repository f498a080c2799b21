"""How much is ranked at a time; without torch, so that a plan can count with it."""

from __future__ import annotations

__all__ = [
    "FEWEST_AT_ONCE",
    "ITEMS_AT_ONCE",
    "LOGITS_AT_ONCE",
    "MORE_ON_GPU",
    "TOKENS_AT_ONCE",
    "USERS_AT_ONCE",
]

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time when ranking (32 MB in float32)."""
FEWEST_AT_ONCE = 16
"""Least number of users ranked at a time, even with more logits: each block reads all representations once."""
MORE_ON_GPU = 16
"""Times as many tokens and logits (512 MB in float32) on a GPU, which has many cores to fill."""
ITEMS_AT_ONCE = 1 << 17
"""Items of a tile of a catalogue that is too large to hold the representations of all items."""
USERS_AT_ONCE = 1 << 16
"""Users for whom the tiles are made together: a tile costs more to make than to rank for a few users."""
