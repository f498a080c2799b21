"""The command line: one subcommand per step. Flags come from the step function's signature, help from its docstring.

A step is a function with annotated arguments: keyword-only ones are flags, others stand by their place. ``Path``
arguments are files, pydantic models are given as JSON (or as the path of a JSON file), lists are repeated values. The
names are those that the Snakemake rules use for input, output and params.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import logging
import os
import re
import shutil
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from decorec import gpus
from decorec.artifacts.seal import provenance
from decorec.artifacts.step_log import begun
from decorec.errors import DecorecError, explain
from decorec.processor import FLAG, LIBRARIES, pin
from decorec.steps import STEPS, step_function

__all__ = ["main", "prepare_libraries"]


def _is_model(annotation: Any) -> bool:
    """Whether ``annotation`` is a section of the configuration, or a choice between sections."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_model(typing.get_args(annotation)[0])
    if _is_union(annotation):
        return all(_is_model(member) for member in typing.get_args(annotation))
    return inspect.isclass(annotation) and hasattr(annotation, "model_validate")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _parse_model(annotation: Any, flag: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        from pydantic import TypeAdapter, ValidationError

        from decorec.config import explain

        try:
            value = json.loads(text) if text.lstrip().startswith("{") else json.loads(Path(text).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise DecorecError(
                f"{flag}: expected JSON or the path of a JSON file, found {text[:80]!r} ({error})"
            ) from error
        try:
            return TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            raise DecorecError(explain(error, flag, annotation)) from error

    return parse


def _add_argument(parser: argparse.ArgumentParser, parameter: inspect.Parameter, annotation: Any, text: str) -> None:
    flag = "--" + parameter.name.replace("_", "-")
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    text += _told_default(flag, default)
    options: dict[str, Any] = {"dest": parameter.name, "required": required, "default": default, "help": text}
    if _is_union(annotation) and type(None) in typing.get_args(annotation):
        # If a rule leaves an optional file empty, the flag comes without a value.
        (annotation,) = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
        options |= {"nargs": "?", "const": None}
    if typing.get_origin(annotation) is list:
        (annotation,) = typing.get_args(annotation)
        options["nargs"] = "*"
    if annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif _is_model(annotation):
        options["type"] = _parse_model(annotation, flag)
        options["metavar"] = "JSON"
    else:
        options["type"] = annotation
        options["metavar"] = annotation.__name__.upper()
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        parser.add_argument(parameter.name, **{key: options[key] for key in ("type", "metavar", "help")})
    else:
        parser.add_argument(flag, **options)


def _told_default(flag: str, default: Any) -> str:
    """The default, for the help; "" where there is none, or the description says what happens without the flag."""
    if isinstance(default, bool):
        return f" (default: {flag})" if default else ""
    return f" (default: {default})" if isinstance(default, int | float | str) else ""


def _for_a_terminal(description: str) -> str:
    """A docstring without what only Python's users need: what is raised there, is refused here."""
    text, raises, refused = description.partition("Raises:\n    DecorecError: ")
    return text + (raises and "Refused, with exit status 1: ") + refused.replace("\n" + 8 * " ", "\n")


def _split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The docstring without its section Args, and the entries of that section: parameter -> text."""
    entries: dict[str, str] = {}
    rest: list[str] = []
    section = name = ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            section = line
        if section != "Args:":
            rest.append(line)
        elif entry := re.fullmatch(r" {4}(\w+): (.+)", line):
            name = entry[1]
            entries[name] = entry[2]
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return "\n".join(rest).strip(), entries


def _parser_of(name: str, function: Callable[..., None]) -> argparse.ArgumentParser:
    description, texts = _split_docstring(inspect.getdoc(function) or "")
    parser = argparse.ArgumentParser(
        prog=f"decorec {name}",
        description=_for_a_terminal(description),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        _add_argument(parser, parameter, hints[parameter.name], texts.get(parameter.name, "").replace("%", "%%"))
    if "threads" not in parameters:
        parser.add_argument("--threads", type=int, metavar="INT", help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--gpu-mb", type=int, default=0, metavar="INT", help=argparse.SUPPRESS)
    parser.add_argument(
        FLAG, action="store_true", help="compute with the instructions that all processors with AVX2 have"
    )
    return parser


def _list_steps() -> str:
    lines = ["usage: decorec STEP [options]    (decorec STEP --help explains the options)"]
    width = max(map(len, STEPS))
    for phase, steps in groupby(STEPS.items(), key=lambda entry: entry[1].phase):
        lines += ["", f"{phase}:", *(f"  {name:<{width}}  {step.summary}" for name, step in steps)]
    return "\n".join(lines)


def prepare_libraries(arguments: Sequence[str]) -> None:
    """Set what the numeric libraries read when they are imported: number of threads, and instructions if pinned."""
    if FLAG in arguments:
        pin()
    if "--threads" in arguments[:-1]:
        threads = arguments[arguments.index("--threads") + 1]
        for variable in LIBRARIES:
            os.environ.setdefault(variable, threads)


def _outputs(function: Callable[..., None], values: dict[str, Any]) -> list[Path]:
    """The files and folders that a step was asked to write: its docstring says which parameters name them."""
    _, texts = _split_docstring(inspect.getdoc(function) or "")
    return [value for name, value in values.items() if "(written" in texts.get(name, "") and isinstance(value, Path)]


def _place(values: dict[str, Any]) -> str:
    """What to name for a mishap that names no file: the files of a step that lie on a full disk, else all of them."""
    paths = [value for value in values.values() if isinstance(value, Path)]
    return ", ".join(map(str, [path for path in paths if _is_full(path)] or paths)) or "a file"


def _is_full(path: Path) -> bool:
    folder = next(parent for parent in [path, *path.absolute().parents] if parent.is_dir())
    return shutil.disk_usage(folder).free < 1 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one step; an expected failure gives one message and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_list_steps())
        return
    name, *rest = arguments
    if name not in STEPS:
        from decorec.config.meant import nearest

        close = nearest(name, STEPS)
        meant = "" if close is None else f" (did you mean {close}?)"
        print(f"decorec: expected a step, found {name!r}{meant}; `decorec --help` lists them", file=sys.stderr)
        sys.exit(2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    values: dict[str, Any] = {}
    entry = begun(name)
    try:
        prepare_libraries(rest)
        function = step_function(name)
        values = vars(_parser_of(name, function).parse_args(rest))
        for count in ("threads", "cores"):
            if (given := values.get(count)) is not None and given < 1:
                raise DecorecError(f"--{count}: expected 1 or more, found {given}; correct it")
        if "threads" not in inspect.signature(function).parameters:
            del values["threads"]  # every step takes the flag: the libraries read it when they are imported
        del values["reproducible"]
        entry.log = values.pop("log")
        gpus.promise(values.pop("gpu_mb"))
        entry.outputs, entry.values = _outputs(function, values), values
        gc.freeze()  # what the imports have made stays; `python -m decorec` imports without looking for garbage
        gc.enable()
        with provenance() as entry.known:
            function(**values)
    except KeyboardInterrupt:
        entry.write("stopped")
        print(f"decorec {name}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit:
        entry.write("stopped")
        raise
    except Exception as error:
        failure = error if isinstance(error, DecorecError) else explain(error, _place(values))
        entry.write("failed", str(failure or f"{type(error).__name__}: {error}"))
        if failure is None:
            raise
        print(f"decorec {name}: {failure}", file=sys.stderr)
        sys.exit(1)
    entry.write("done")
    if entry.outputs or entry.log:  # what a command answers on the terminal stands there alone
        logging.getLogger("decorec").info("%s: done in %.1f s", name, entry.seconds)
