"""What runs share: the graph, interests and stage 1 of the first run with equal values."""

from __future__ import annotations

import json
from typing import Any

from decorec.artifacts import layout
from decorec.config import Config, Run

__all__ = ["Sharing", "as_json"]


def as_json(section: Any) -> str:
    """A section of the configuration as one text: a swap of two of its values is a change."""
    return json.dumps(section.model_dump(mode="json"), sort_keys=True)


class Sharing:
    """All runs of a configuration, with the values that are in force on each data set."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.runs = config.every_run()
        self._tuned = {
            (dataset, name): run
            for dataset in config.datasets
            if dataset in config.tuned
            for name, run in config.every_run(dataset).items()
        }

    def on(self, dataset: str, run: str) -> Run:
        """A run with the values that were chosen on a data set, if any were."""
        return self._tuned.get((dataset, run), self.runs[run])

    def run(self, run: str, stage: str, dataset: str = "") -> str:
        """What one stage of a run depends on, as JSON; with the values that were chosen on ``dataset``."""
        return json.dumps(self.on(dataset, run).for_stage(stage).dump(), sort_keys=True)

    def whole_run(self, run: str) -> str:
        """All values of a run, as JSON: those that it has before any are chosen."""
        return json.dumps(self.runs[run].dump(), sort_keys=True)

    def last_stage(self, run: str) -> str:
        """The stage that is evaluated."""
        return self.runs[run].stages[-1]

    def first_stage_run(self, run: str, dataset: str = "") -> str:
        """The run whose stage 1 this run starts from: the first one with the same stage 1 on ``dataset``."""
        key = self._stage1_key(run, dataset)
        return next(other for other in self.runs if self._stage1_key(other, dataset) == key)

    def variant(self, run: str, section: str) -> str:
        """Where a run finds the artifacts of the section ``graph`` or ``interests``, as the wildcard ``variant``.

        "" are those of the base sections; otherwise they belong to the first run that has the same values.
        """
        key = self._key(self.runs[run], section)
        if key == self._key(Run(graph=self.config.graph, interests=self.config.interests), section):
            return ""
        return layout.fill(
            layout.VARIANT, run=next(name for name, other in self.runs.items() if self._key(other, section) == key)
        )

    def variant_section(self, variant: str, section: str) -> str:
        """The section behind the artifacts of a variant, as JSON."""
        source: Any = self.runs[self._owner(variant)] if variant else self.config
        return as_json(getattr(source, section))

    def graph_of_interests(self, variant: str) -> str:
        """The variant of the graph that the interests of ``variant`` are computed from."""
        return self.variant(self._owner(variant), "graph") if variant else ""

    @staticmethod
    def _owner(variant: str) -> str:
        return variant.split("/")[1]

    @staticmethod
    def _key(run: Run, section: str) -> str:
        values = as_json(getattr(run, section))
        return values if section == "graph" else values + as_json(run.graph)

    def _stage1_key(self, run: str, dataset: str) -> str:
        return self.run(run, "stage1", dataset) if "stage1" in self.runs[run].stages else run
