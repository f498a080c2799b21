"""What a machine has of what a call of Snakemake needs; each check says it in a line."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from decorec.artifacts import layout
from decorec.config import Config
from decorec.plan.costs import RATES, Size
from decorec.processor import NEEDED, flags

__all__ = [
    "PYPROJECT",
    "SECONDS",
    "Finding",
    "disk",
    "disk_needed",
    "gpu",
    "memory",
    "packages",
    "processor",
    "programs",
    "python",
    "requirements",
    "slurm",
]

State = Literal["ok", "warning", "missing"]
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
"""Of a checkout; an installed package knows its requirements itself."""
SECONDS = 5
"""What a program or a server has to answer in."""


@dataclass(frozen=True)
class Finding:
    """What a check has found."""

    state: State
    """missing: a call with this configuration needs it. warning: something else would be better with it."""
    subject: str
    text: str
    """What was found, and what to do about it."""

    def __str__(self) -> str:
        return f"{self.state:8} {self.subject}: {self.text}"


def python(required: str, version: str = platform.python_version()) -> Finding:
    """The version of Python against the bounds of the package, such as ">=3.11"."""
    from packaging.specifiers import SpecifierSet

    if version in SpecifierSet(required):
        return Finding("ok", "Python", f"{version} (expected {required}), {sys.executable}")
    return Finding("missing", "Python", f"expected {required}, found {version}; install it, and the packages there")


def requirements() -> tuple[str, list[str]]:
    """Bounds of Python and of the packages: of pyproject.toml in a checkout, else of the installed package."""
    if PYPROJECT.is_file():
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        marked = [f"{line}; extra == '{name}'" for name, lines in extras.items() for line in lines]
        return project["requires-python"], [*project["dependencies"], *marked]
    known = metadata.metadata("decorec")
    return known["Requires-Python"], metadata.requires("decorec") or []


def packages(required: Sequence[str], wanted: Sequence[str] = ()) -> list[Finding]:
    """The versions of the packages against their bounds.

    Args:
        required: requirements as pyproject.toml has them; those of an extra with its marker.
        wanted: extras that the configuration needs.
    """
    from packaging.requirements import Requirement

    fitting, lines = 0, []
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
        ):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != "none" and requirement.specifier.contains(found, prereleases=True):
            fitting += 1
            continue
        bounds = f"{requirement.name}{requirement.specifier}"
        lines.append(
            Finding("missing", "package", f"expected {bounds}, found {found}; python -m pip install '{bounds}'")
        )
    return [Finding("ok", "packages", f"{fitting} of {fitting + len(lines)} are within their bounds"), *lines]


def processor(reproducible: bool, known: set[str] | None = None) -> Finding:
    """Cores, and the instructions that the key reproducible needs; ``known``: what the processor can do."""
    lacking = sorted(NEEDED - (flags() if known is None else known))
    cores = len(os.sched_getaffinity(0))
    text = f"{cores} core{'s' * (cores > 1)}, {platform.machine()}"
    if not lacking:
        return Finding("ok", "processor", f"{text} with AVX2")
    text += f" without {' and '.join(lacking)}"
    if reproducible:
        return Finding("missing", "processor", f"{text}, which the key reproducible needs; set it to false")
    return Finding("warning", "processor", f"{text}: slow, and the key reproducible cannot be used")


def memory(cores: int, info: Path = Path("/proc/meminfo")) -> Finding:
    """Memory for as many trainings at once as there are cores; ``info``: as Linux tells it."""
    entries = dict(line.partition(":")[::2] for line in info.read_text().splitlines())
    free = int(entries["MemAvailable"].split()[0]) / 1e6
    most = max(rate.memory for rate in RATES.values()) / 1e3
    text, at_once = (
        f"{free:.1f} GB are free; a job takes up to {most:.1f} GB on a data set of middle size",
        int(free / most),
    )
    if at_once >= cores:
        return Finding("ok", "memory", text)
    if at_once:
        return Finding("warning", "memory", f"{text}, so that {cores} at once are too many: --cores {at_once}")
    return Finding("warning", "memory", f"{text}: end other programs, or take another machine")


def disk_needed(config: Config, sizes: Mapping[str, Size | None]) -> tuple[float, list[str]]:
    """GB that the main table of a configuration takes, about, and the data sets whose size is not known yet.

    Measured per item: 15 kB for its picture, 8 kB for its features and their cache, 6 kB in each training, whose other
    weights take 5 MB; 0.5 kB per user and evaluation. The files as downloaded come on top.
    """
    runs = [config.run(name) for name in config.tables.main]
    seeds = [len(config.seeds) if run.model.seeded else 1 for run in runs]
    trainings = sum(len(run.stages) * count for run, count in zip(runs, seeds, strict=True))
    known = [size for size in sizes.values() if size is not None]
    parts = (
        size.items * (15e3 + 8e3 + 6e3 * trainings) + trainings * 5e6 + size.users * 500 * sum(seeds) for size in known
    )
    return sum(parts) / 1e9, [name for name, size in sizes.items() if size is None]


def disk(folder: Path, needed: float, unknown: Sequence[str] = ()) -> list[Finding]:
    """Free space of a working directory, and of results/ if that is on another disk, beside the GB that are needed."""
    results = folder / layout.RESULTS
    elsewhere = results.exists() and results.stat().st_dev != folder.stat().st_dev
    places = {folder: 0.0, results: needed} if elsewhere else {folder: needed}
    more = f"the size of {', '.join(unknown)} is not known yet" if unknown else ""
    lines = []
    for place, taken in places.items():
        free = shutil.disk_usage(place).free / 1e9
        text = f"{free:.1f} GB are free in {place.absolute()}"
        text = "; ".join(filter(None, [text, f"the results take about {taken:.1f} GB" if taken else "", more]))
        if free < taken:
            lines.append(Finding("missing", "disk", f"{text}; free some space, or work on another disk"))
        else:
            little = free < max(1.0, 2 * taken)
            lines.append(Finding("warning" if little else "ok", "disk", text + "; that is little" * little))
    return lines


def _answer(program: str, *arguments: str, path: str | None = None) -> str | None:
    """What a program prints; None if it is not there, fails or does not answer."""
    found = shutil.which(program, path=path)
    if found is None:
        return None
    try:
        result = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def gpu(needed: bool, path: str | None = None, usable: Callable[[], bool] | None = None) -> Finding:
    """The GPUs, and whether torch can compute on them.

    Args:
        needed: the configuration asks for one (features.device: cuda).
        path: folders to look for nvidia-smi in, by default those of the environment.
        usable: whether torch can; asked only if there is a GPU, because torch takes seconds to load.
    """
    told = _answer("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader", path=path)
    if not told:
        text = "none found (nvidia-smi): everything is computed on the processor"
        return Finding("missing" if needed else "ok", "GPU", text + "; set features.device to auto" * needed)
    text = "; ".join(f"{name}, {size}, driver {driver}" for name, size, driver in _rows(told))
    if (usable or _torch_sees_one)():
        return Finding("ok", "GPU", text)
    advice = "torch cannot use it: install the torch that fits the driver (https://pytorch.org/get-started)"
    return Finding("missing" if needed else "warning", "GPU", f"{text}; {advice}")


def _rows(told: str) -> list[tuple[str, str, str]]:
    rows = [[part.strip() for part in line.split(",")] for line in told.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _torch_sees_one() -> bool:
    import torch

    return torch.cuda.is_available()


def slurm(path: str | None = None) -> Finding:
    """Whether jobs can be sent to a cluster (``path`` as for ``gpu``)."""
    lacking = [name for name in ("sbatch", "squeue") if shutil.which(name, path=path) is None]
    if len(lacking) == 2:
        return Finding("ok", "SLURM", "not here: jobs run on this machine")
    if lacking:
        return Finding("warning", "SLURM", f"{lacking[0]} is not here; install all of slurm-client")
    if _answer("squeue", "--noheader", "--me", path=path) is None:
        return Finding("warning", "SLURM", "squeue does not answer; is this the machine to send jobs from?")
    return Finding("ok", "SLURM", "answers: snakemake --profile profiles/slurm ...")


PROGRAMS = {
    "dot": ("make docs/rulegraph.svg", "graphviz"),
    "uv": ("make lock", "uv (pip)"),
    "chromium": ("the tests of the pages", "chromium"),
}
"""What is needed to work on the project itself: program -> what uses it, and the package that has it."""


def programs(path: str | None = None) -> Finding:
    """Programs that no call needs (``path`` as for ``gpu``)."""
    names = {"chromium": ("chromium", "chromium-browser")}
    lacking = [
        f"{name} ({use}; install {package})"
        for name, (use, package) in PROGRAMS.items()
        if not any(shutil.which(other, path=path) for other in names.get(name, (name,)))
    ]
    if lacking:
        return Finding("ok", "programs for development", f"not here: {', '.join(lacking)}; no call needs them")
    return Finding("ok", "programs for development", ", ".join(PROGRAMS))
