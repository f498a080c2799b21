"""The page of files: results/README.md, and the columns of the tables from decorec/artifacts/schemas."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module

import polars as pl

from docs.generate import REPOSITORY

__all__ = ["page"]

SCHEMAS = REPOSITORY / "decorec/artifacts/schemas"


def page() -> str:
    """What lies where under results/, then the columns of the tables that steps exchange."""
    _, _, layout = (REPOSITORY / "results/README.md").read_text(encoding="utf-8").partition("\n| path |")
    heading = "# Files and columns\n\nEverything that is computed lies in `results/`; paths are from there on.\n"
    introduction = """
## Columns

Parquet files that one step writes and another one reads, or that are for you. The tables in `results/tables` have
[a page of their own](tables.md).
"""
    return "\n".join([heading, "| path |" + layout, introduction, *_tables()])


def _tables() -> Iterator[str]:
    for path in sorted(SCHEMAS.glob("[a-z]*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        module = import_module(f"decorec.artifacts.schemas.{path.stem}")
        for statement, following in zip(body, [*body[1:], None], strict=True):
            name = _assigned(statement)
            columns = getattr(module, name, None) if name in module.__all__ else None
            if not isinstance(columns, Mapping) or not all(map(_is_type, columns.values())):
                continue
            text = " ".join(_docstring(following).replace("``", "`").split())
            file, found, rest = text.partition(": ")
            titled = found and file.endswith(".parquet")
            yield f"### {file if titled else f'{path.stem}.parquet'}\n"
            shown = rest if titled else text
            yield f"{shown[:1].upper()}{shown[1:]}\n"
            yield "| column | type |\n|---|---|"
            yield "\n".join(f"| `{column}` | {kind!r} |" for column, kind in columns.items()) + "\n"


def _is_type(value: object) -> bool:
    return isinstance(value, pl.DataType) or (isinstance(value, type) and issubclass(value, pl.DataType))


def _assigned(statement: ast.stmt) -> str:
    """The name that a statement gives a value to."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""


def _docstring(statement: ast.stmt | None) -> str:
    """The string that stands alone behind a value."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""
