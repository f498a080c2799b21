"""The shell command of a rule, from the names of its input, output and params."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from decorec.processor import FLAG
from decorec.steps import STEPS

__all__ = ["call", "step"]


def step(
    name: str,
    *,
    reproducible: bool,
    wildcards: str = "",
    params: str = "",
    input: str = "",
    output: str = "",
    resources: str = "",
) -> str:
    """The command that runs the step ``name`` in a rule, with the rule's placeholders.

    Each argument lists names that the rule declares under that directive, separated by blanks. A name is a parameter of
    the step's function and gives the flag: ``input="vocab"`` becomes ``--vocab {input.vocab:q}``. Messages of the step
    go to the rule's log, whose name tells the step where to write what it took. ``reproducible``: the key of the
    configuration.
    """
    given = {"wildcards": wildcards, "params": params, "input": input, "output": output, "resources": resources}
    flags = [
        f"--{keyword.replace('_', '-')} {{{directive}.{keyword}:q}}"
        for directive, names in given.items()
        for keyword in names.split()
    ]
    flags += _pinned(name, reproducible)
    return " ".join(["python -m decorec", name, *flags, "--threads {threads} --log {log:q} 2> {log:q}"])


def _pinned(name: str, reproducible: bool) -> list[str]:
    return [FLAG] if reproducible and not STEPS[name].exact else []


def call(name: str, arguments: Mapping[str, str | float | Iterable[str]], *, reproducible: bool) -> str:
    """The command of a step with known values of its arguments: text, a number, or a list of texts."""
    words = [name, *_pinned(name, reproducible)]
    for keyword, value in arguments.items():
        words.append(f"--{keyword.replace('_', '-')}")
        words += [str(value)] if isinstance(value, str | int | float) else list(value)
    return shlex.join(words)
