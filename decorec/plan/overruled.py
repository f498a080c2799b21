"""Values of a run that count for nothing, because values that were chosen on the data set stand before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decorec.config import Config
from decorec.config.runs import flat

__all__ = ["overruled"]

NAMED = 3
"""Runs that a line names."""


def overruled(config: Config) -> list[str]:
    """One line for each written value that ``tuned`` replaces on a configured data set, with the runs where it does.

    That is what ``tuned`` is for. But who edits a run and forgets it would wait for a change that never comes.
    """
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for dataset in config.datasets.keys() & config.tuned.keys():
        for name in config.runs:
            without, here = config.run(name), config.run(name, dataset)
            for key in dict.fromkeys(_written(config, name)):
                own, used = without.at(key), here.at(key)
                if own != used:
                    found.setdefault((dataset, key, str(own), str(used)), []).append(name)
    return [
        f"{key}: {own} is not used on {dataset} by {_named(runs)}, since tuned.{dataset} says {used}; change it there"
        for (dataset, key, own, used), runs in found.items()
    ]


def _written(config: Config, name: str) -> Iterator[str]:
    """Keys of the sections model and train that the configuration gives to a run, outside of ``tuned``."""
    difference = config.runs[name]
    sections: dict[str, Any] = {"train": config.train.model_dump(exclude_unset=True)}
    if config.run(name).model.name == config.model.name:
        sections["model"] = config.model.model_dump(exclude_unset=True)
    for values in (sections, {"model": difference.model, "train": difference.train}):
        yield from (key for key, _ in flat(values) if key != "model.name")


def _named(runs: list[str]) -> str:
    more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
    return ", ".join(runs[:NAMED]) + more
