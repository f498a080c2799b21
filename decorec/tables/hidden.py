"""What the figures of a data set hide: who was left out, which targets are easy, which texts were cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel

from decorec.artifacts.files import by_stem, read_arrays
from decorec.config.stored import read_stored
from decorec.tables.split_facts import read_split

__all__ = ["hidden_by_the_data"]

CORE = re.compile(r"\d+-core")


class _Size(BaseModel):
    """Customers and items at some point."""

    users: int
    items: int


class _Pass(_Size):
    """What one pass of a filter left."""

    step: str


class _Read(BaseModel):
    """ingest.json: what was read, and what each pass left."""

    interactions: _Size
    filter: list[_Pass]


class _Split(_Size):
    """statistics.json: what is left, and what each pass left before."""

    filter: list[_Pass]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else f"{part:,}"


def _lost(statistics: Path, counts: Path | None) -> str:
    """Customers and items that were left out, by what left them out."""
    left = read_stored(statistics, _Split)
    passes = list(left.filter)
    if counts is not None:
        found = read_stored(counts, _Read)
        passes = [_Pass(step="given", **found.interactions.model_dump()), *found.filter, *passes]
    if len(passes) < 2:
        return (
            f"All {left.users:,} customers and {left.items:,} items of the given splits are counted; whom the makers "
            "of the splits had left out is not known here."
        )
    first, lost = passes[0], {"users": 0, "items": 0}
    for before, after in pairwise(passes):
        if CORE.match(after.step):
            lost["users"] += before.users - after.users
            lost["items"] += before.items - after.items
    core = next((match[0] for one in passes if (match := CORE.match(one.step))), "")
    text = (
        f"Counted are {_share(left.users, first.users)} customers and {_share(left.items, first.items)} items of the "
        "source"
    )
    if core:
        text += (
            f"; the {core} alone left out {lost['users']:,} customers and {lost['items']:,} items, those with few "
            "purchases, and nothing here says how well they would be served"
        )
    return text + "."


def _texts(features: Sequence[Path]) -> list[str]:
    """How many texts were longer than the encoder reads."""
    file = by_stem(features).get("text")
    if file is None:
        return []
    metadata = read_arrays(file)[1]
    if "truncated_texts" in metadata:
        return [
            f"Of the texts {float(metadata['truncated_texts']):.1%} are longer than the encoder reads and were cut."
        ]
    if metadata.get("encoder") == "lsa":
        return ["No text was cut: the vectors of texts count the words of whole texts."]
    return ["The vectors of texts were given; how many texts were cut for them is not known."]


def hidden_by_the_data(statistics: Path, counts: Path | None, features: Sequence[Path]) -> list[str]:
    """Sentences about one data set.

    Args:
        statistics: statistics.json.
        counts: ingest.json; None for given splits.
        features: features/MODALITY.safetensors.

    Raises:
        DecorecError: a file is missing or lacks a number.
    """
    split = read_split(statistics)
    lines = [_lost(statistics, counts)]
    if split.same_day is None:
        lines.append("How many targets were bought on the day of the item before is not known: there are no times.")
    else:
        lines.append(
            f"{split.same_day:.0%} of the targets were bought on the day of the item before: part of the same basket, "
            "for which no recommendation could have been shown in between."
        )
    cold = f"{split.cold_items:,} items have no purchase to learn from; {split.cold:.1%} of the targets are such items."
    return [*lines, cold if split.cold_items else "Every item has a purchase to learn from.", *_texts(features)]
