"""Refuses a file of which too much would be lost, and shows the records.

What counts against the share ``unreadable`` of a data set are records that could not be read or understood: lines that
are not JSON, and records without user, item or time. What is dropped on purpose does not count: repeated records,
duplicates, items without metadata, and what is outside of the k-core.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl

from decorec.acquire.gzip_files import unpacked
from decorec.acquire.sources.columns import plain
from decorec.data.interactions import SHOWN, Account, shortened
from decorec.errors import DecorecError

__all__ = ["expect_same_ids", "expect_spelling", "expect_understood", "lines_not_json"]

FEW = 3
"""So many records may be lost in any case: of a tiny data set, one record is a large share."""
BY_CHANCE = 0.1
"""Share of the unknown ids of a file which may differ from known ones in upper and lower case alone."""
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
    """Refuse a file of items whose ids differ from those of the interactions in their spelling alone.

    Args:
        origin: the file of items, for messages.
        wanted: ids in the interactions.
        found: ids of all items of the file.
        allowed: share of records that may be lost; at 1, nothing is refused.

    Raises:
        DecorecError: there are such ids; the message shows three of them in both spellings.
    """
    absent = wanted.filter(~wanted.is_in(found.implode()))
    problem = None if allowed >= 1 else _respelt(absent, found, allowed * len(absent), "the interactions")
    if problem is not None:
        raise DecorecError(
            f"{origin}: {problem}; write the ids alike in both files, as text, or let them be dropped: {_key(1)}"
        )


def expect_spelling(origin: str, ids: pl.Series, known: Sequence[str], whose: str = "the model") -> None:
    """Refuse a file of one's own with ids that differ from those that are known in their spelling alone.

    They would be passed over as others are that are not known, or be new items. Where the file has both spellings, they
    are two items; where two known items differ so (7 and 007), another one can as well (07).

    Args:
        origin: the file, for messages.
        ids: of items in the file.
        known: ids of items.
        whose: what knows them, for messages.

    Raises:
        DecorecError: there are such ids; the message shows three of them in both spellings.
    """
    items = pl.Series(known, dtype=pl.String)
    absent, others = (one.filter(~one.is_in(other.implode())).unique() for one, other in ((items, ids), (ids, items)))
    problem = _respelt(absent, others, BY_CHANCE * len(others), whose, items)
    if problem is not None:
        raise DecorecError(f"{origin}: {problem}; write the ids as {whose} has them, as text")


def _respelt(absent: pl.Series, found: pl.Series, few: float, whose: str, known: pl.Series | None = None) -> str | None:
    """What is wrong where ids that are ``absent`` are ``found`` in another spelling; None where nothing is.

    Leading zeros and the fraction .0 are what spreadsheets and programs make of numbers; forms of Unicode and marks
    without width cannot be seen. In upper and lower case ids may differ by chance, where they are short: that is wrong
    if there are more than ``few`` of them. Where two ids that are ``known`` differ so, zeros or case tell items apart.
    """
    if absent.is_empty() or found.is_empty():
        return None
    seen = plain("item")
    bare = seen.str.replace(r"^0+([0-9]+)$", "$1")
    missing, other = pl.DataFrame({"item": absent}), pl.DataFrame({"item": found})
    for form, what, most in (
        (bare, "leading zeros, a fraction .0 or what cannot be seen", 0.0),
        (bare.str.to_lowercase(), "upper and lower case", few),
    ):
        here, there = (frame.with_columns(seen=seen, bare=form) for frame in (missing, other))
        pairs = here.join(there, on="bare", how="inner", suffix="_found").sort("item", "item_found")
        if known is not None and len(pairs):
            several = pl.DataFrame({"item": known}).select(bare=form).filter(pl.col("bare").is_duplicated())["bare"]
            same = pl.col("seen") == pl.col("seen_found")
            pairs = pairs.filter(same | ~pl.col("bare").is_in(several.implode()))
        pairs = pairs.unique("item", keep="first", maintain_order=True)
        if len(pairs) > most:
            first, *others = pairs.head(SHOWN).select("item", "item_found").rows()
            more = "".join(f", {one!a} and {two!a}" for one, two in others)
            return (
                f"expected item {first[0]!a} of {whose}, found {first[1]!a}{more} ({len(pairs)} items differ in {what} "
                "alone)"
            )
    return None


def lines_not_json(path: Path) -> list[str]:
    """The first lines of a file, gzipped or not, that are no JSON objects, with their numbers."""
    found: list[str] = []
    with (
        suppress(OSError),  # of a damaged file, what can be read is shown
        unpacked(path) as handle,
    ):
        for number, content in enumerate(handle, start=1):
            line = content.decode(errors="replace")
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
