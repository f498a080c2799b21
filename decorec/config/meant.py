"""Which key was meant by one that a section does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["keys_at", "meant", "nearest"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that is most like a word; None if none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def meant(word: str, known: Iterable[str]) -> str:
    """What to say of a word beside the nearest one of ``known``; "" if none is near."""
    close = nearest(word, known)
    return "" if close is None else f"did you mean {close!r}?"


def keys_at(schema: Mapping[str, Any], place: Sequence[str | int]) -> list[str]:
    """The keys that a JSON schema has at a place.

    ``place`` is as pydantic tells it: keys, places in lists, and between them the value that chose one of several
    sections, such as the name of a model.
    """
    nodes = [schema]
    for part in place:
        nodes = [after for node in _choices(schema, nodes) for after in _after(node, part)]
    return [key for node in _choices(schema, nodes) for key in node.get("properties", ())]


def _choices(schema: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The nodes, references followed; a choice by name stays, any other stands for all that it offers."""
    for node in nodes:
        if "$ref" in node:
            yield from _choices(schema, [schema["$defs"][node["$ref"].rpartition("/")[2]]])
        elif "anyOf" in node:
            yield from _choices(schema, node["anyOf"])
        else:
            yield node


def _after(node: Mapping[str, Any], part: str | int) -> list[Mapping[str, Any]]:
    """What stands in a node under a key, at a place of a list, or for a name."""
    if "discriminator" in node:
        return [{"$ref": node["discriminator"]["mapping"][part]}]
    inner = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items")
    return [inner] if isinstance(inner, Mapping) else []
