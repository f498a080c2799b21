"""The jobs that a call of Snakemake would run, read from the commands of their steps."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decorec.artifacts import layout
from decorec.errors import DecorecError
from decorec.steps import STEPS

__all__ = ["Job", "jobs_of", "names_of", "planned"]

COMMAND = re.compile(r"python -m decorec .+ 2> \S+$")
"""The command of a rule: every rule but ``all`` runs one step and sends its messages to its log."""
TRAINED = re.compile(r"(?P<dataset>[^/]+)/runs/(?P<run>[^/]+)/seed-(?P<seed>\d+)/[^/]+")


@dataclass(frozen=True)
class Job:
    """One job."""

    step: str
    name: str
    """As for ``layout.log`` and ``layout.benchmark``: of its log, and of its measurement."""
    values: Mapping[str, Sequence[str]]
    """Flag -> its values, as they stand in the command."""

    @classmethod
    def of(cls, command: str) -> Job:
        """The job of a rule's command."""
        words = shlex.split(command)
        values: dict[str, list[str]] = {}
        *arguments, _, log = words[4:]
        for word in arguments:
            if word.startswith("--"):
                values[word.removeprefix("--")] = last = []
            else:
                last.append(word)
        return cls(words[3], layout.job_of(Path(log)) or log, values)

    @property
    def phase(self) -> str:
        """The phase of its step."""
        return STEPS[self.step].phase

    @property
    def dataset(self) -> str:
        """The data set that it belongs to; "" for tables, figures and pages."""
        return "" if self.phase in ("tables", "figures", "report") else self.name.partition("/")[0]

    @property
    def run(self) -> str:
        """The run that is trained or evaluated; for production that of its twin; "" for other jobs."""
        if twin := self.value("epochs-of"):
            return layout.place(Path(twin), layout.HISTORY).run
        found = TRAINED.fullmatch(self.name)
        return found["run"] if found else Path(self.name).name if self.step == "tune" else ""

    @property
    def seed(self) -> str:
        """Its seed, if it has one."""
        found = TRAINED.fullmatch(self.name)
        return found["seed"] if found else ""

    def value(self, flag: str, otherwise: str = "") -> str:
        """The only value of a flag."""
        return next(iter(self.values.get(flag, ())), otherwise)

    def paths(self, flag: str) -> list[Path]:
        """The files that a flag names."""
        return [Path(value) for value in self.values.get(flag, ())]


def jobs_of(lines: Iterable[str]) -> list[Job]:
    """The jobs whose commands are in these lines; a line without one is left out."""
    return [Job.of(found[0]) for line in lines if (found := COMMAND.search(line))]


def names_of(commands: Mapping[int, str]) -> dict[int, str]:
    """Snakemake's number of a job -> its name; ``commands``: number -> its command, "" for a rule without one."""
    return {number: job.name for number, command in commands.items() for job in jobs_of([command])}


def planned(targets: Iterable[str], overlays: Iterable[Path]) -> list[Job]:
    """The jobs that ``snakemake TARGETS --configfile OVERLAYS`` would run in the working directory, by a dry run.

    Raises:
        DecorecError: Snakemake refuses the configuration or the targets.
    """
    arguments = ["--dry-run", "--printshellcmds", "--cores", "1", "--quiet", "host"]
    if files := list(map(str, overlays)):
        arguments += ["--configfile", *files]
    command = [sys.executable, "-m", "snakemake", *arguments, "--", *targets]
    result = subprocess.run(command, capture_output=True, text=True)
    output = result.stdout + result.stderr
    if result.returncode:
        raise DecorecError(f"expected jobs to plan, found what Snakemake refuses:\n{output.strip()}")
    return jobs_of(output.splitlines())
