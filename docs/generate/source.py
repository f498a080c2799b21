"""Definitions in the source of the package, read without running it."""

from __future__ import annotations

import ast
import textwrap
from functools import cache

from decorec.errors import DecorecError
from docs.generate import REPOSITORY

__all__ = ["definition", "folded", "whole"]

Definition = ast.FunctionDef | ast.ClassDef


@cache
def _module(file: str) -> tuple[str, ast.Module]:
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    return text, ast.parse(text)


def definition(file: str, name: str) -> Definition:
    """The function or class ``name`` of a file, or the method ``Class.name``.

    Raises:
        DecorecError: the file does not define it.
    """
    body: list[ast.stmt] = _module(file)[1].body
    for part in name.split("."):
        found = [node for node in body if isinstance(node, Definition) and node.name == part]
        if not found:
            raise DecorecError(f"{file}: expected a definition of {name}, found none; correct the name, or the page")
        body = found[0].body
    return found[0]


def folded(file: str, name: str) -> str:
    """The source of a definition as a block of Markdown that opens at a click."""
    node = definition(file, name)
    lines = _module(file)[0].splitlines()[node.lineno - 1 : node.end_lineno]
    block = "\n".join(["```python", *textwrap.dedent("\n".join(lines)).splitlines(), "```"])
    return f'??? example "{file}: {name}"\n\n' + textwrap.indent(block, "    ")


def whole(file: str) -> str:
    """A file as a block of Markdown."""
    language = "yaml" if file.endswith(".yaml") else "python"
    return f"```{language}\n{(REPOSITORY / file).read_text(encoding='utf-8')}```"
