"""Refuses a file of which too much would be lost, and shows the records.

What counts against the share ``unreadable`` of a data set are records that could not be read or understood: lines that
are not JSON, and records without user, item or time. What is dropped on purpose does not count: repeated records,
duplicates, items without metadata, and what is outside of the k-core.
"""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from pathlib import Path

import polars as pl

from decorec.data.interactions import SHOWN, Account, shortened
from decorec.errors import DecorecError

__all__ = ["expect_same_ids", "expect_understood", "lines_not_json"]

FEW = 3
"""So many records may be lost in any case: of a tiny data set, one record is a large share."""
GZIP = b"\x1f\x8b"
ORDINARY = ("repeated item", "photo of no item")
"""Reasons of records that were understood."""


def expect_understood(origin: str, account: Account, allowed: float) -> None:
    """Check that no more than the share ``allowed`` of the records of ``origin`` was dropped for one reason.

    Raises:
        DecorecError: more were dropped; the message shows three of them and names the key that allows it.
    """
    total = account.summary.get("lines", account.summary["records"])
    for reason, count in account.dropped.items():
        if reason not in ORDINARY and count > max(FEW, allowed * total):
            advice = (
                "write one JSON object per line (of Python literals in single quotes, as in the files of 2014: "
                "json.dumps(ast.literal_eval(line)))"
                if reason == "not JSON"
                else "correct the file"
            )
            raise DecorecError(
                f"{origin}: expected records that can be used, found {reason}: {count} of {total}"
                f"{account.such_as(reason)}; {advice}, or let them be dropped: {_key(count / total)}"
            )


def expect_same_ids(origin: str, wanted: pl.Series, found: pl.Series, allowed: float) -> None:
    """Refuse ids that differ from those of the interactions in leading zeros alone, as spreadsheets write them.

    Args:
        origin: the file of items, for messages.
        wanted: ids in the interactions.
        found: ids of all items of the file.
        allowed: share of records that may be lost; at 1, nothing is refused.

    Raises:
        DecorecError: there are such ids; the message shows three of them in both spellings.
    """
    bare = pl.col("item").str.strip_chars_start("0").alias("bare")
    numbers = pl.col("item").str.contains(r"^[0-9]+$")
    absent = pl.DataFrame({"item": wanted.filter(~wanted.is_in(found.implode()))}).filter(numbers).with_columns(bare)
    if absent.is_empty() or allowed >= 1:
        return
    other = pl.DataFrame({"item": found}).filter(numbers).with_columns(bare)
    pairs = (
        absent.join(other, on="bare", how="inner", suffix="_found")
        .sort("item", "item_found")
        .unique("item", keep="first", maintain_order=True)
    )
    if len(pairs):
        first, *others = pairs.head(SHOWN).select("item", "item_found").rows()
        more = "".join(f", {one!r} and {two!r}" for one, two in others)
        raise DecorecError(
            f"{origin}: expected item {first[0]!r} of the interactions, found {first[1]!r}{more} ({len(pairs)} items "
            f"differ in leading zeros alone); write the ids alike in both files, as text, or let them be dropped: "
            f"{_key(1)}"
        )


def lines_not_json(path: Path) -> list[str]:
    """The first lines of a file, gzipped or not, that are no JSON objects, with their numbers."""
    found: list[str] = []
    with path.open("rb") as start:
        unpack = gzip.open if start.read(len(GZIP)) == GZIP else open
    with (
        suppress(OSError, EOFError, zlib.error),  # of a damaged file, what can be read is shown
        unpack(path, "rt", encoding="utf-8", errors="replace") as handle,
    ):
        for number, line in enumerate(handle, start=1):
            if line.strip() and not _is_object(line):
                found.append(f"line {number}: {shortened(line.strip())}")
                if len(found) == SHOWN:
                    break
    return found


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _key(share: float) -> str:
    """The key that allows the loss of a share, rounded up to whole hundredths."""
    return f"datasets.<name>.unreadable: {min(1.0, -(-share * 100 // 1) / 100):g}"
