"""A folder of its own in which the workflow runs as a user runs it."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.dry_runs import dry_run

REPOSITORY = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "datasets": {"sample": {"source": "sample", "items": 90, "users": 220}},
    "features": {"encoder": "fit", "epochs": 1},
    "model": {"dim": 8, "encoder": {"heads": 2, "feed_forward": 8}},
    "train": {"epochs": 2, "patience": 1},
    "seeds": [0],
    "runs": {"decorec": {}},
    "tables": {"main": ["decorec"]},
}
"""A configuration whose every step takes seconds."""

SETTINGS: dict[str, Any] = TINY | {
    "runs": {
        "decorec": {},
        "sasrec": {"model": {"name": "sasrec", "dim": 8}},
        "no-cluster": {"model": {"interests": False}},
        "other-graph": {"graph": {"distance": "1/(D+1)"}},
    },
    "tables": {
        "main": ["decorec", "sasrec"],
        "ablations": ["no-cluster", "other-graph", "decorec"],
        "retrieval": ["decorec"],
    },
}


PAGE = "results/report/full.html"
INDEX = "results/report/index.html"
EVERYTHING = (PAGE, "results/tables/claims.csv")
"""The claims stand on the page beside the paper's data alone."""
WHOLE: dict[str, Any] = SETTINGS | {
    "seeds": [0, 1],
    "runs": SETTINGS["runs"]
    | {"naive-fusion": {"model": {"phased": False, "modal_layers": 0, "id_layers": 0, "interests": False}}},
    "tables": SETTINGS["tables"]
    | {
        "fusion": ["sasrec", "decorec"],
        "readings": ["no-cluster", "decorec"],
        "alpha": [0.25],
        "clusters": [0.3],
        "sensitivity_seeds": 1,
        "gradients": ["naive-fusion"],
        "embedding": ["no-cluster", "decorec"],
        "newitems": ["sasrec"],
    },
}
"""The same with a second seed and with every kind of table and figure."""
TARGETS = ("results/tables/main.csv", "results/tables/ablations.csv", "results/tables/statistics.csv")
BEING_WRITTEN = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")
"""Files that Python and numba are about to rename in other processes. What they have compiled is copied: numba takes
seven seconds for the kernels of the co-occurrence."""


class Workplace:
    """A copy of the workflow and the package in a folder of its own, with a configuration and what to compute."""

    def __init__(self, folder: Path, config: dict[str, Any], *targets: str) -> None:
        self.folder, self.targets = folder, targets
        self.options: tuple[str, ...] = ()
        """Those of every call."""
        self.program: tuple[str, ...] = ("-m", "snakemake")
        """What Python runs as Snakemake, for calls that run jobs."""
        folder.mkdir()
        for name in ("Snakefile", "workflow", "decorec", "envs"):
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=BEING_WRITTEN)
            else:
                shutil.copy(source, folder / name)
        self.configure(config)

    def copy(self, folder: Path, config: dict[str, Any]) -> Workplace:
        """The same with all that has been computed, elsewhere and with another configuration."""
        shutil.copytree(self.folder, folder, symlinks=True)
        other = copy.copy(self)
        other.folder = folder
        other.configure(config)
        return other

    def edit(self, file: str, text: str = "\n# an edit\n") -> None:
        """Append to a file of this workplace's own copy of the package."""
        path = self.folder / "decorec" / file
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    def restore(self, config: dict[str, Any]) -> None:
        """Put configuration and package back as they were."""
        self.configure(config)
        shutil.copytree(REPOSITORY / "decorec", self.folder / "decorec", ignore=BEING_WRITTEN, dirs_exist_ok=True)

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ["--cores", "2", "--workflow-profile", "none", *self.options, *arguments]
        environment = {**os.environ, "PYTHONPATH": ""}
        if "--dry-run" in arguments:
            return dry_run(options, self.folder, environment)
        command = [sys.executable, *self.program, *options]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def planned(self, *targets: str) -> dict[str, int]:
        """Jobs that a call would run for ``targets``, else for those of this workplace.

        By rule; trainings are counted by their stage instead, which is what a user sees of them.
        """
        found, trainings = self._planned(*targets)
        for _, stage in trainings:
            found[stage] = found.get(stage, 0) + 1
        if found.pop("train", 0) != len(trainings):
            raise AssertionError(f"the rule train and its messages differ: {found}, {trainings}")
        return found

    def trained(self, *targets: str) -> set[tuple[str, str]]:
        """(run, stage) of the trainings that a call would run."""
        return set(self._planned(*targets)[1])

    def planned_by_rule(self, *targets: str) -> dict[str, int]:
        """Jobs by rule that a call would run."""
        return self._planned(*targets)[0]

    def _planned(self, *targets: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
        result = self.snakemake("--dry-run", "--quiet", "host", "--", *(targets or self.targets))
        assert result.returncode == 0, result.stdout + result.stderr
        output = result.stdout + result.stderr
        table = re.search(r"^job +count\n[- ]+\n((?:\S+ +\d+\n)+)", output, re.MULTILINE)
        if table is None:
            assert "Nothing to be done" in output, output
            return {}, []
        trainings = re.findall(r"^Job \d+: Training (\S+) on \S+: (\w+), seed \d+$", output, re.MULTILINE)
        return {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}, trainings
