"""Every artifact that a step reads, damaged or exchanged: the step refuses it, and names the file that is wrong."""

from __future__ import annotations

import inspect
import random
import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from decorec.cli import main
from decorec.steps import step_function
from tests.support.workplace import EVERYTHING, Workplace


@dataclass(frozen=True)
class Job:
    """One job of the workflow: the step that it calls, its arguments and its input files."""

    step: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]


def jobs(workplace: Workplace) -> list[Job]:
    """All jobs of the page and of the claims, as Snakemake would run them."""
    result = workplace.snakemake("--dry-run", "--forceall", "--printshellcmds", "--", *EVERYTHING)
    assert result.returncode == 0, result.stdout + result.stderr
    found = []
    for command in re.findall(r"^Shell command: python -m decorec (.*?) 2> \S+$", result.stdout, re.MULTILINE):
        step, *arguments = shlex.split(command)
        found.append(Job(step, tuple(arguments), tuple(read_by(step, arguments))))
    return found


def read_by(step: str, arguments: list[str]) -> Iterator[str]:
    """The arguments after the flags that the step's documentation calls read."""
    text = inspect.getdoc(step_function(step)) or ""
    reads = False
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:].replace("-", "_")
            reads = re.search(rf"^ +{name}: (?:(?!written|\n +\w+: )[\s\S])*?\(read", text, re.MULTILINE) is not None
        elif reads:
            yield argument


def readers(found: list[Job]) -> Iterator[tuple[Job, str]]:
    """For every step and every kind of file that it reads, one job and one file of it."""
    seen = set()
    for job in found:
        for file in job.inputs:
            kind = (job.step, re.sub(r"seed-\d+|/runs/[^/]+|sample", "", file))
            if kind not in seen and Path(file).is_file():
                seen.add(kind)
                yield job, file


def damages(file: Path, others: list[Path], chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Wrong contents of ``file``: cut off, with one bit changed, and those of another file of its kind."""
    content = file.read_bytes()
    yield "cut off", content[: chance.randrange(len(content))]
    at = chance.randrange(len(content))
    yield f"bit changed at {at}", content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    if others:
        other = chance.choice(others)
        yield f"content of {other}", other.read_bytes()


def corrupt_everything(workplace: Workplace, capsys: pytest.CaptureFixture[str], kept: Path) -> tuple[int, list[str]]:
    """Damage or exchange one file at a time in a finished workplace, the working directory, and run its readers.

    Returns:
        The number of wrong contents tried, and a line for each that was used, that ended in anything but one message,
        or whose message does not begin with the wrong file and end with the command that makes it again.
    """
    namesakes = defaultdict(list)
    for path in Path("results").rglob("*"):
        if path.is_file() and "cache" not in path.parts:
            namesakes[_kind(path)].append(path)
    chance, tried, wrong = random.Random(0), 0, []
    for job, name in readers(jobs(workplace)):
        file = Path(name)
        others = [other for other in namesakes[_kind(file)] if other.read_bytes() != file.read_bytes()]
        shutil.copy2(file, kept)
        for what, content in damages(file, others, chance):
            file.write_bytes(content)
            tried += 1
            capsys.readouterr()
            try:
                main([job.step, *job.arguments])
                found = "used"
            except SystemExit as stopped:
                message = capsys.readouterr().err.strip().splitlines()[-1]
                expected = rf"decorec {job.step}: {re.escape(name)}: expected .* --force {re.escape(name)}"
                found = "" if stopped.code == 1 and re.fullmatch(expected, message) else message
            except Exception as error:
                found = repr(error)
            finally:
                shutil.copy2(kept, file)
            if found:
                wrong.append(f"{job.step}: {file}: {what}: {found}")
    return tried, wrong


def _kind(path: Path) -> str:
    """Files of one kind could be taken for each other."""
    return path.suffix if path.parent.name in ("tables", "figures", "features") else path.name
