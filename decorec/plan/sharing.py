"""Shared results of runs: runs with equal values share the graph, the interests and stage 1 of the first of them."""

from __future__ import annotations

import json
from typing import Any

from decorec.artifacts import layout
from decorec.config import Config, Run

__all__ = ["Sharing", "as_json"]


def as_json(section: Any) -> str:
    """A section of the configuration as one text; it changes if two values are swapped."""
    return json.dumps(section.model_dump(mode="json"), sort_keys=True)


class Sharing:
    """All runs of a configuration, with their values on each data set."""

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
        """A run with the values that were chosen on a data set, if there are any."""
        return self._tuned.get((dataset, run), self.runs[run])

    def run(self, run: str, stage: str, dataset: str = "") -> str:
        """The values that one stage of a run depends on, as JSON; with those chosen on ``dataset``."""
        return json.dumps(self.on(dataset, run).for_stage(stage).dump(), sort_keys=True)

    def whole_run(self, run: str) -> str:
        """All values of a run, as JSON, without any chosen on a data set."""
        return json.dumps(self.runs[run].dump(), sort_keys=True)

    def chosen_run(self, dataset: str, run: str) -> str:
        """All values of a run, as JSON, with those chosen on a data set."""
        return json.dumps(self.on(dataset, run).dump(), sort_keys=True)

    def devices(self, dataset: str, run: str) -> int:
        """Processes of each training of a run, on each of its nodes."""
        return self.on(dataset, run).devices

    def nodes(self, dataset: str, run: str) -> int:
        """Machines of each training of a run."""
        return self.on(dataset, run).nodes

    def gpus(self, dataset: str, run: str) -> int:
        """GPUs of each training of a run, where there are any: one for each process, on all nodes together."""
        return self.nodes(dataset, run) * self.devices(dataset, run)

    def last_stage(self, run: str) -> str:
        """The stage that is evaluated."""
        return self.runs[run].stages[-1]

    def first_stage_run(self, run: str, dataset: str = "") -> str:
        """The run whose stage 1 this run starts from: the first one with the same stage 1 on ``dataset``."""
        key = self._stage1_key(run, dataset)
        return next(other for other in self.runs if self._stage1_key(other, dataset) == key)

    def variant(self, run: str, section: str) -> str:
        """The wildcard ``variant`` in the paths of a run's files of the section ``graph`` or ``interests``.

        "" means the files of the base sections; otherwise they belong to the first run with the same values.
        """
        key = self._key(self.runs[run], section)
        if key == self._key(Run(graph=self.config.graph, interests=self.config.interests), section):
            return ""
        return layout.fill(
            layout.VARIANT, run=next(name for name, other in self.runs.items() if self._key(other, section) == key)
        )

    def variant_section(self, variant: str, section: str) -> str:
        """The section of the configuration of a variant, as JSON."""
        source: Any = self.runs[self._owner(variant)] if variant else self.config
        return as_json(getattr(source, section))

    def graph_of_interests(self, variant: str) -> str:
        """The variant of the graph from which the interests of ``variant`` are computed."""
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
