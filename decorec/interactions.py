"""Interactions on their way from the source to interactions.parquet: what was read, dropped and repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from decorec.errors import DecorecError

__all__ = ["Raw", "drop_duplicates", "drop_incomplete"]

REQUIRED = ("user", "item", "timestamp")


@dataclass(frozen=True)
class Raw:
    """Interactions as read.

    ``frame``: user, item (strings), rating (float32, null where unknown), timestamp (int64, ``per_second`` units to
    the second), in the order of the source. ``summary``: what the source held. ``dropped`` and ``repaired``: records
    by reason.
    """

    frame: pl.DataFrame
    summary: dict[str, int]
    dropped: dict[str, int]
    repaired: dict[str, int]
    per_second: int = 1


def drop_incomplete(
    frame: pl.DataFrame,
    summary: Mapping[str, int],
    dropped: Mapping[str, int],
    repaired: Mapping[str, int],
    per_second: int,
    origin: str,
    expected: str,
) -> Raw:
    """Drop rows without user, item or timestamp and count them under the first that is missing.

    Raises:
        DecorecError: no row is left. ``origin`` and ``expected`` say what was read and what should have been there.
    """
    lost = Counter(dropped)
    for name in REQUIRED:
        complete = frame.filter(pl.col(name).is_not_null()) if frame[name].null_count() else frame
        lost[f"no {name}"] = len(frame) - len(complete)
        frame = complete
    if frame.is_empty():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in lost.items() if count) or "the file is empty"
        raise DecorecError(f"{origin}: expected {expected}, found none ({reasons}); check that it is the right file")
    distinct = {"users": frame["user"].n_unique(), "items": frame["item"].n_unique()}
    return Raw(frame, {**summary, **distinct}, dict(lost), {k: v for k, v in repaired.items() if v}, per_second)


def drop_duplicates(frame: pl.DataFrame, kind: Literal["exact", "pair"]) -> pl.DataFrame:
    """Keep one of equal interactions, in the order of the frame.

    exact: equal user, item, rating and timestamp. pair: equal user and item; the earliest stays, of several at the
    same time the first.
    """
    if kind == "exact":
        return frame.unique(["user", "item", "rating", "timestamp"], keep="first", maintain_order=True)
    numbered = frame.with_row_index("row").sort("timestamp", maintain_order=True)
    return numbered.unique(["user", "item"], keep="first", maintain_order=True).sort("row").drop("row")
