"""Values that count for nothing: those of a run that chosen ones replace, and chosen ones of a misspelt data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decorec.config import Config
from decorec.config.meant import nearest
from decorec.config.runs import flat

__all__ = ["misspelt", "overruled"]

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


def misspelt(config: Config) -> list[str]:
    """One line for each data set under ``tuned`` that is not configured, but is named nearly as one that is.

    Others are there on purpose: a file of data sets replaces those of config.yaml, and leaves its ``tuned`` as it is.
    So are those that have a part of a name more or less, as sample and sample-full.
    """
    found = {name: nearest(name, config.datasets) for name in config.tuned.keys() - config.datasets.keys()}
    return [
        f"tuned.{name}: its values are not used, since no data set has this name; did you mean {close!r}?"
        for name, close in sorted(found.items())
        if close is not None and not _is_variant(name, close)
    ]


def _is_variant(one: str, other: str) -> bool:
    return one.startswith(f"{other}-") or other.startswith(f"{one}-")


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
