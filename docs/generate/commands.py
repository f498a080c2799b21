"""The page of the command line, from the list of steps and the functions behind them.

The source is read, not run: some steps import torch, which takes seconds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby

from decorec.cli import _split_docstring
from decorec.steps import STEPS
from docs.generate.configuration import anchors
from docs.generate.source import definition

__all__ = ["INTRODUCTION", "page"]

INTRODUCTION = """# Command line

Every step of the workflow is a command, `decorec STEP` or `python -m decorec STEP`. `decorec STEP --help` says what
stands here. `snakemake --printshellcmds` prints the command of each job that it starts, which can be pasted into a
terminal. Every step also takes `--threads N`; `--reproducible`, to compute with
[the instructions that all processors have](../explanation/reproducibility.md); `--log FILE`, the file that
`results/log.jsonl` names as its log (the rules send its output there); and `--gpu-mb N`, by which jobs of one call of
Snakemake [share GPUs](../how-to/gpu.md#several-jobs-several-gpus).

JSON stands for a section of the configuration, as JSON or as the path of a JSON file. A flag that is not required has
its default in brackets.
"""
PLAIN = {"Path": "FILE", "int": "INT", "float": "NUMBER", "str": "TEXT"}


def page() -> str:
    """All steps with their flags, by phase."""
    return "\n".join([INTRODUCTION, *_steps()])


def _steps() -> Iterator[str]:
    for phase, steps in groupby(STEPS.items(), key=lambda entry: entry[1].phase):
        yield f"## {phase}\n"
        for name, step in steps:
            function = definition(step.module.replace(".", "/") + ".py", name.replace("-", "_"))
            assert isinstance(function, ast.FunctionDef)
            text, entries = _split_docstring(ast.get_docstring(function) or "")
            yield f"### decorec {name} {{#{name}}}\n"
            yield f"{_prose(text)}\n"
            rows = list(_rows(function, entries))
            if rows:
                yield "\n".join(["| flag | | |", "|---|---|---|", *rows, ""])


def _rows(function: ast.FunctionDef, texts: dict[str, str]) -> Iterator[str]:
    """A row of the table for each argument."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults, *arguments.kw_defaults]
    for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True):
        flag = "--" + argument.arg.replace("_", "-")
        kind = _kind(ast.unparse(argument.annotation)) if argument.annotation else "TEXT"
        value = "" if default is None or ast.unparse(default) in ("None", "False") else f" ({ast.unparse(default)})"
        need = "required" if default is None else "optional"
        if argument in positional:
            flag, kind = argument.arg.upper(), ""
        elif kind == "":
            flag, need = f"{flag}` `--no-{flag[2:]}", "optional"
        yield f"| `{flag}{' ' if kind else ''}{kind}` | {need}{value} | {_cell(texts.get(argument.arg, ''))} |"


def _kind(annotation: str) -> str:
    """What follows a flag: empty for a switch."""
    (name, *_) = [part for part in annotation.split(" | ") if part != "None"]
    several = name.startswith("list[")
    name = name.removeprefix("list[").removesuffix("]")
    if name == "bool":
        return ""
    return PLAIN.get(name, "TEXT" if name.startswith("Literal") else "JSON") + (" ..." if several else "")


def _prose(text: str) -> str:
    """A docstring as Markdown: its sections become a paragraph, names in double backquotes become code."""
    lines: list[str] = []
    for line in text.replace("``", "`").splitlines():
        if line in ("Raises:", "Returns:"):
            break
        lines.append(line)
    return _linked("\n".join(lines).strip())


def _cell(text: str) -> str:
    return _linked(text.replace("``", "`").replace("|", "\\|"))


def _linked(text: str) -> str:
    """ "the section graph" leads to the keys of that section."""
    for name in anchors():
        text = text.replace(f"the section {name} ", f"the section [{name}](configuration.md#{name}) ")
    return text
