"""Columns of lists.parquet."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["LENGTH", "LISTS"]

LENGTH = 50
"""Items of a list, where there are as many."""

LISTS: dict[str, Any] = {"user": pl.String, "history": pl.String, "items": pl.List(pl.Int32)}
"""lists.parquet: the first ``LENGTH`` items of each user's test ranking, once for each treatment of the history.

Best first; equal scores stand in the order of the items. Masked: no item of the user's whole history, not even a target
that was bought before. (A rank keeps that target as a candidate; a list must not know it.)
"""
