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
from tests.support.workplace import PAGE, Workplace

pytestmark = pytest.mark.workflow


@dataclass(frozen=True)
class Job:
    """One job of the workflow: the step that it calls, its arguments and its input files."""

    step: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]


def jobs(workplace: Workplace) -> list[Job]:
    """All jobs of the page, as Snakemake would run them."""
    result = workplace.snakemake("--dry-run", "--forceall", "--printshellcmds", "--", PAGE)
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


def test_no_wrong_file_is_used(
    whole: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(whole.folder)
    namesakes = defaultdict(list)
    for path in Path("results").rglob("*"):
        if path.is_file() and "cache" not in path.parts:
            namesakes[path.suffix if path.parent.name in ("tables", "figures", "features") else path.name].append(path)
    chance, wrong, tried = random.Random(0), [], 0
    for job, name in readers(jobs(whole)):
        file, kept = Path(name), tmp_path / "kept"
        alike = namesakes[file.suffix if file.parent.name in ("tables", "figures", "features") else file.name]
        others = [other for other in alike if other.read_bytes() != file.read_bytes()]
        shutil.copy2(file, kept)
        for what, content in damages(file, others, chance):
            file.write_bytes(content)
            tried += 1
            try:
                main([job.step, *job.arguments])
                wrong.append(f"{job.step}: {file}: {what}: used")
            except SystemExit as stopped:
                message = capsys.readouterr().err.strip().splitlines()[-1]
                if stopped.code != 1 or not re.match(
                    rf"decorec {job.step}: {re.escape(name)}: expected .*{name}$", message
                ):
                    wrong.append(f"{job.step}: {file}: {what}: {message}")
            except Exception as error:
                wrong.append(f"{job.step}: {file}: {what}: {error!r}")
            finally:
                shutil.copy2(kept, file)
    assert wrong == []
    assert tried > 100
    assert whole.planned(PAGE) == {}, "everything is as it was"
