"""Every key of the configuration as tables, from the schema that the typed sections generate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from docs.generate import REPOSITORY

__all__ = ["anchors", "page", "readme", "sources"]

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.json"
HISTORY = re.compile(r"\s*Not written if .*?\.(?=\s[A-Z]|\s*$)")
"""How a key is kept among the tracked values: nothing that whoever sets it needs."""
CHOICES = {"datasets": "source", "model": "name"}
"""Sections with one set of keys for each value of a key of theirs."""


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def anchors() -> list[str]:
    """The names of the sections, which are also their anchors."""
    return list(_schema()["properties"])


def readme() -> str:
    """config/README.md."""
    introduction = """# Configuration

<!-- Generated: python -m docs.generate -->

`config.yaml`, in the folder above, is the one file to edit. The files here are laid over it, in the order in which they
stand behind `--configfile`, key by key; their data sets, and any list in them, replace those before:

    snakemake --cores 8 results/tables/main.csv --configfile config/hm.yaml config/temporal.yaml

"""
    return introduction + _files() + "\n" + _keys()


def page() -> str:
    """The same for the site."""
    introduction = """# Configuration

`config.yaml` is the one file to edit. Files behind `--configfile` are laid over it
([how](../how-to/runs.md#files-to-lay-over)). An unknown key, or a value out of its bounds, is refused before anything
runs, with the key, what was found, and what was expected. Editors complete and check the keys by
`workflow/schemas/config.schema.json`.

"""
    return introduction + _keys()


def _files() -> str:
    """What each overlay is for: the first sentence of its first comment."""
    rows = []
    for path in sorted((REPOSITORY / "config").glob("*.yaml")):
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("# "):
                break
            lines.append(line[2:])
        first = re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0]
        rows.append(f"| [{path.name}]({path.name}) | {first} |")
    return "\n".join(["| file | |", "|---|---|", *rows, ""])


def _keys() -> str:
    properties = _schema()["properties"]
    single = {name: value for name, value in properties.items() if "$ref" not in value and name not in CHOICES}
    parts = ["## Top level\n", *_rows(single), ""]
    for name, value in properties.items():
        if name not in single:
            parts += [f"## {name}\n", *_section(name, value), ""]
    for name in sorted(_inner()):
        parts += [f"## {_heading(name)}\n", *_body(_schema()["$defs"][name]), ""]
    return "\n".join(parts).rstrip() + "\n"


def _section(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    key = CHOICES.get(name)
    if key is None:
        yield from _body(_resolve(value))
        return
    choice = value["additionalProperties"] if name == "datasets" else value
    mapping = choice["discriminator"]["mapping"]
    yield (
        "Name of the data set -> one of the following, by its `source`. The name becomes the folder under `results/`.\n"
        if name == "datasets"
        else "One of the following, by its `name`.\n"
    )
    for reference in dict.fromkeys(mapping.values()):
        yield f"### {_heading(reference.rpartition('/')[2])}\n"
        yield from _body(_resolve({"$ref": reference}), but=key)
        yield ""


def sources() -> str:
    """One row for each source of data: name, and what it is."""
    mapping = _schema()["properties"]["datasets"]["additionalProperties"]["discriminator"]["mapping"]
    rows = ["| `source` | |", "|---|---|"]
    for name, reference in mapping.items():
        rows.append(f"| `{name}` | {_sentence(_resolve({'$ref': reference}))} |")
    return "\n".join(rows)


def _body(definition: Mapping[str, Any], but: str = "") -> Iterator[str]:
    yield _sentence(definition) + "\n"
    properties = {name: value for name, value in definition["properties"].items() if name != but}
    yield from _rows(properties, definition.get("required", []))


def _rows(properties: Mapping[str, Any], required: list[str] | None = None) -> Iterator[str]:
    if not properties:
        return
    yield "| key | default | values | |"
    yield "|---|---|---|---|"
    for name, value in properties.items():
        default = "required" if name in (required or []) else _value(value.get("default"), name)
        yield f"| `{name}` | {default} | {_kind(value)} | {_sentence(value)} |"


def _sentence(value: Mapping[str, Any]) -> str:
    """The description, without line breaks and without what is about the code alone."""
    text = HISTORY.sub("", " ".join(value.get("description", "").split()).replace("``", "`"))
    return text.replace("|", "\\|").replace("<", "&lt;")


def _value(value: Any, name: str) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    if len(shown) > 120:
        return "see `config.yaml`" if name in ("runs", "tables") else "as below"
    return f"`{shown}`"


def _kind(value: Mapping[str, Any]) -> str:
    """What may stand there."""
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        heading = _heading(name)
        return f"[{heading}](#{heading.replace(': ', '-').replace(' ', '-')})"
    if "oneOf" in value:
        return " or ".join(_kind(one) for one in value["oneOf"])
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(one) for one in value["anyOf"]))
    kind: str = value.get("type", "anything")
    if kind == "array":
        return "list of " + re.sub(r"^(whole number|number|text)", r"\1s", _kind(value.get("items", {})))
    if kind == "object":
        inner = value.get("additionalProperties", {})
        return f"name -> {_kind(inner)}" if isinstance(inner, Mapping) and inner else "mapping"
    words = {"string": "text", "integer": "whole number", "boolean": "`true`, `false`", "null": "`null`"}
    return words.get(kind, kind) + _bounds(value)


def _bounds(value: Mapping[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{word} {value[key]:g}" for key, word in words.items() if key in value]
    return ", " + ", ".join(found) if found else ""


def _resolve(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _schema()["$defs"][value["$ref"].rpartition("/")[2]]
    return found


def _sections() -> dict[str, str]:
    """Definition -> heading of the section, or of the choice within one, that shows it."""
    found = {}
    for name, value in _schema()["properties"].items():
        if name in CHOICES:
            mapping = value.get("additionalProperties", value)["discriminator"]["mapping"]
            for reference in dict.fromkeys(mapping.values()):
                names = [one for one, other in mapping.items() if other == reference]
                found[reference.rpartition("/")[2]] = f"{name}: {', '.join(names)}"
        elif "$ref" in value:
            found[value["$ref"].rpartition("/")[2]] = name
    return found


def _inner() -> set[str]:
    """Definitions that only stand within others."""
    return set(_schema()["$defs"]) - set(_sections())


def _heading(name: str) -> str:
    """Heading of a definition: ``EncoderConfig`` -> encoder, ``TunedDifference`` -> values of a tuned run."""
    if name in _sections():
        return _sections()[name]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower().removesuffix("-config")
    return (
        f"values of a {words.removesuffix('-difference')} run".replace("run run", "run") if "-diff" in words else words
    )
