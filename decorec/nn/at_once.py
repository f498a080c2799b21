"""How much a loss holds in memory at a time; without torch, so that a plan can count with it."""

from __future__ import annotations

__all__ = ["KEPT", "ROWS_AT_ONCE", "TILE"]

ROWS_AT_ONCE = 2048
TILE = 1 << 21
"""Logits computed at a time (8 MB in float32, so that they stay in the cache between passes)."""
KEPT = 1 << 26
"""Logits kept between the two passes (256 MB in float32); if there are more, the second pass recomputes them."""
