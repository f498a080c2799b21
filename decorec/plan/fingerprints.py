"""A short hash of the code that a step depends on: an edit of this code, and no other, makes the step run again."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

__all__ = ["closure", "code_fingerprint", "data_files"]

PACKAGE = Path(__file__).parent.parent
DOOR = "decorec"
"""The package itself: it has the version, and names what a user calls; no step calls it."""
INERT = (
    "decorec.config",
    "decorec.artifacts.layout",
    "decorec.models.registry",
    "decorec.acquire.sources.registry",
    "decorec.errors",
    "decorec.progress",
    "decorec.steps",
    "decorec.cli",
)
"""Modules that are left out. The workflow tracks the values of the configuration, so that a changed default is a
changed value; the other modules list models, sources and steps, or write messages."""

BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
"""Where a statement of Python has statements within it."""


@cache
def code_fingerprint(*modules: str) -> str:
    """Hash over modules, over all modules of this package that they import, and over the data files they name."""
    digest = hashlib.sha256()
    for name in sorted(closure(*modules)):
        for path in (_file(name), *data_files(name)):
            digest.update(path.relative_to(PACKAGE).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def closure(*modules: str) -> set[str]:
    """``modules`` and all modules of this package that they import, directly or indirectly."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name == DOOR or any(name == inert or name.startswith(f"{inert}.") for inert in INERT):
            continue
        found.add(name)
        waiting.extend(_imports(name))
    return found


@cache
def data_files(module: str) -> tuple[Path, ...]:
    """The files beside a module that its source names in a string, such as ``paper.yaml``, in the order of their names.

    A module that reads a data file of the package must have it in its own folder and contain its name as a string.
    """
    folder = _file(module).parent
    source = _source(module)
    beside = sorted(path for path in folder.iterdir() if path.suffix != ".py" and path.name in source)
    if not beside:  # as of most modules: to look at all nodes takes as long as to parse them
        return ()
    names = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return tuple(path for path in beside if path.name in names and path.is_file())


@cache
def _imports(module: str) -> frozenset[str]:
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(_source(module))]
    while waiting:  # of the statements: an expression, as most nodes are, imports nothing
        node = waiting.pop()
        for block in BLOCKS:
            waiting.extend(getattr(node, block, ()))
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.split(".")[0] == "decorec" and _file(name).is_file())


def _source(module: str) -> str:
    return _file(module).read_text(encoding="utf-8")


@cache
def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
