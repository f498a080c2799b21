"""How much an encoder is fitted on; without torch, so that a plan can count with it."""

from __future__ import annotations

__all__ = ["MOST_PAIRS"]

MOST_PAIRS = 20_000
"""Pairs of picture and text; of a larger shop as many drawn ones."""
