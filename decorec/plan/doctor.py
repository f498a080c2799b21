"""Command doctor: what this machine and this folder have of what a call needs, and what to do about the rest."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from decorec.config import Config
from decorec.config.datasets import SampleDataset
from decorec.plan import folder, machine
from decorec.plan.costs import Size, size_of, size_of_sample
from decorec.plan.machine import Finding
from decorec.plan.running import SNAKEMAKE

__all__ = ["doctor", "examine"]


def doctor(*, configfile: list[Path] | None = None, network: bool = False) -> None:
    """Say what this machine has of what a call needs, one line for each thing: ok, warning or missing.

    Nothing is changed. The exit status is 1 if something is missing that a call with this configuration needs.

    Args:
        configfile: files to lay over config.yaml, as behind Snakemake's --configfile.
        network: ask the servers of the data sets whether they answer.
    """
    found = examine(configfile or [], network)
    print("\n".join(map(str, found)))
    states = Counter(finding.state for finding in found)
    counts = ", ".join(f"{states[state]} {state}" for state in ("ok", "warning", "missing") if states[state])
    end = "a call needs what is missing" if states["missing"] else "nothing that a call needs is missing"
    print(f"{counts}: {end}")
    if states["missing"]:
        raise SystemExit(1)


def examine(overlays: list[Path], network: bool) -> list[Finding]:
    """Everything that there is to say, in the working directory."""
    here, cores = Path(), len(os.sched_getaffinity(0))
    config, valid = folder.configuration(here, overlays)
    required, bounds = machine.requirements()
    extras = ["workflow", *["tensorboard"] * (config is not None and config.train.tensorboard)]
    extras += ["sql"] * (config is not None and any(section.source == "sql" for section in config.datasets.values()))
    found = [machine.python(required), *machine.packages(bounds, extras)]
    found += [machine.processor(config is not None and config.reproducible), machine.memory(cores)]
    found += machine.disk(here, *((0.0, []) if config is None else machine.disk_needed(config, _sizes(config))))
    found += [machine.gpu(config is not None and config.features.device == "cuda"), machine.slurm()]
    if machine.PYPROJECT.is_file():
        found.append(machine.programs())
    found.append(valid)
    if config is not None:
        found += [*folder.sources(config, here), folder.weights(config, here)]
        found += folder.network(config) if network else []
    return [*found, folder.lock(SNAKEMAKE)]


def _sizes(config: Config) -> dict[str, Size | None]:
    """What is known of the size of each data set: counted, or expected of the sample shop."""
    found = {}
    for name, section in config.datasets.items():
        expected = size_of_sample(section.users, section.items) if isinstance(section, SampleDataset) else None
        found[name] = size_of(name, []) or expected
    return found
