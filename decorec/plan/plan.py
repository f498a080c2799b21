"""What has to be computed for a configuration: paths, what each run shares with the others, and code fingerprints.

Plain Python that the workflow's rules ask; it knows the layout of ``results/`` and nothing of the workflow engine.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from decorec.cli import STEPS
from decorec.config import Config, Run
from decorec.config.datasets import AtomicDataset, TableDataset
from decorec.config.tables import KNOBS
from decorec.figures.step import FIGURES

__all__ = ["INGESTED", "Plan", "code_fingerprint"]

MODALITIES = ("text", "image")
INGESTED = ("sample", "amazon2018", "amazon2023", "table")
"""Sources that are read record by record and whose pictures are crawled; atomic files are past that."""
TABLES = (
    "statistics",
    "main",
    "claims",
    "ablations",
    "retrieval",
    "fusion",
    "coldstart",
    "recall",
    *KNOBS,
    "cost",
    "curves",
    "gradients",
    "embedding",
)
"""All tables but those of tuning, in the order of the report."""
DRAWN = ("curves", "gradients", "embedding")
"""Tables that are drawn only and have no page of their own."""
PACKAGE = Path(__file__).parent
INERT = {"decorec.config", "decorec.errors", "decorec.progress", "decorec.cli"}
"""Modules left out of fingerprints: the values of the configuration are tracked by themselves, the rest writes
messages. A changed default in the configuration arrives as a changed value."""


class Plan:
    """Answers of one configuration to the questions of the rules."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._runs = config.every_run()
        self._tuned = {
            (dataset, name): run
            for dataset in config.datasets
            if dataset in config.tuned
            for name, run in config.every_run(dataset).items()
        }

    def datasets(self, *sources: str) -> list[str]:
        """Names of the data sets, of the given sources only if there are any."""
        return [name for name, dataset in self.config.datasets.items() if not sources or dataset.source in sources]

    def pattern(self, *sources: str) -> str:
        """A regular expression that matches the names of those data sets, and nothing if there are none."""
        return "|".join(self.datasets(*sources)) or "(?!)"

    def dataset(self, name: str) -> str:
        """The section of one data set as JSON."""
        return _json(self.config.datasets[name])

    def section(self, name: str) -> str:
        """A section of the configuration as JSON: one value, so that a swap of two of its keys is a change."""
        return _json(getattr(self.config, name))

    def raw_files(self, dataset: str) -> tuple[str, str]:
        """The files that are ingested: reviews and metadata as served, or the user's interactions and items."""
        section = self.config.datasets[dataset]
        if isinstance(section, TableDataset):
            return f"{section.path}/{section.interactions}", f"{section.path}/{section.items}"
        return f"results/{dataset}/raw/reviews.jsonl.gz", f"results/{dataset}/raw/meta.jsonl.gz"

    def shop(self, dataset: str) -> str:
        """The folder that the loopback server hands out; "" for sources that are not generated."""
        return f"results/{dataset}/shop" if self.config.datasets[dataset].source == "sample" else ""

    def shop_files(self, dataset: str) -> list[str]:
        """What has to lie in that folder."""
        folder = self.shop(dataset)
        return [f"{folder}/{name}" for name in ("reviews.json.gz", "meta.json.gz", "pictures")] if folder else []

    def atomic_files(self, dataset: str) -> list[str]:
        """The files that an atomic data set must have."""
        section = self.config.datasets[dataset]
        assert isinstance(section, AtomicDataset)
        endings = ("train.inter", "valid.inter", "test.inter", "item2index", "user2index", "feat1CLS", "feat3CLS")
        return [f"{section.path}/{section.name}.{ending}" for ending in endings]

    def paper_names(self) -> str:
        """Data set -> its name in the paper's tables, as JSON; only those that stand there."""
        names = {name: dataset.paper for name, dataset in self.config.datasets.items() if dataset.paper}
        return json.dumps(names, sort_keys=True)

    def variant(self, run: str, section: str) -> str:
        """Where a run finds the artifacts of ``graph`` or ``interests``: "" (those of the base sections), or
        "runs/<name>/" of the first run that has the same values."""
        if self._key(self._runs[run], section) == self._base_key(section):
            return ""
        first = next(
            name for name, other in self._runs.items() if self._key(other, section) == self._key_of(run, section)
        )
        return f"runs/{first}/"

    def variant_section(self, variant: str, section: str) -> str:
        """The section behind the artifacts of a variant, as JSON."""
        source: Any = self._runs[variant.split("/")[1]] if variant else self.config
        return _json(getattr(source, section))

    def graph_of_interests(self, variant: str) -> str:
        """The variant of the graph that the interests of ``variant`` are computed from."""
        return self.variant(variant.split("/")[1], "graph") if variant else ""

    def run(self, name: str, stage: str, dataset: str = "") -> str:
        """What one stage of a run depends on, as JSON; with the values that were chosen on ``dataset``."""
        return json.dumps(self._on(dataset, name).for_stage(stage).dump(), sort_keys=True)

    def first_stage_run(self, name: str, dataset: str = "") -> str:
        """The run whose stage 1 this run starts from: the first one with the same stage 1 on ``dataset``."""
        key = self._stage1_key(name, dataset)
        return next(other for other in self._runs if self._stage1_key(other, dataset) == key)

    def last_stage(self, run: str) -> str:
        """The stage that is evaluated."""
        return self._runs[run].stages[-1]

    def inputs(self, dataset: str, run: str, stage: str, seed: str) -> dict[str, Any]:
        """Input files of a training stage, by the names of the step's arguments; [] for those that it does not need."""
        root = f"results/{dataset}"
        needs = set(self._on(dataset, run).needs(stage))
        files: dict[str, Any] = {"vocab": f"{root}/vocab.parquet", "sequences": f"{root}/sequences.parquet"}
        graph = f"{root}/{self.variant(run, 'graph')}graph/cooccurrence.npz"
        files["cooccurrence"] = graph if "graph" in needs else []
        for name in MODALITIES:
            features = f"{root}/features/{name}.safetensors"
            interests = f"{root}/{self.variant(run, 'interests')}interests/{name}.safetensors"
            files[f"{name}_features"] = features if f"features.{name}" in needs else []
            files[f"{name}_interests"] = interests if f"interests.{name}" in needs else []
        if stage == "stage1":
            del files["text_interests"], files["image_interests"]
        if stage == "stage2":
            start = f"{root}/runs/{self.first_stage_run(run, dataset)}/seed-{seed}/stage1"
            files |= {"start": f"{start}/model.safetensors", "start_config": f"{start}/config.json"}
        return files

    def tuned_runs(self) -> list[str]:
        """Runs of the main table with something to choose; presets are what they are, variants follow their model."""
        differences, variants = self.config.runs, self.config.tables.variants
        described = [name for name in self.config.tables.main if differences[name].method == "described"]
        return [name for name in described if self._runs[name].model.space and name not in variants]

    def tuning_inputs(self, dataset: str, run: str) -> dict[str, Any]:
        """Input files of all stages of a run together."""
        files = self.inputs(dataset, run, self.last_stage(run), "0")
        return {key: value for key, value in files.items() if not key.startswith("start")}

    def trials(self, dataset: str) -> list[str]:
        """The files of trials of a data set."""
        return [f"results/tuning/{dataset}/{run}.parquet" for run in self.tuned_runs()]

    def whole_run(self, name: str) -> str:
        """All values of a run, as JSON: those that it has before any are chosen."""
        return json.dumps(self._runs[name].dump(), sort_keys=True)

    def of_runs(self, runs: list[str], file: str = "ranks.parquet", seeds: int | None = None) -> list[str]:
        """One file of every data set, run and seed (of the first ``seeds`` if given); by default the ranks."""
        return [
            f"results/{dataset}/runs/{run}/seed-{seed}/{file}"
            for dataset in self.config.datasets
            for run in runs
            for seed in self.config.seeds[:seeds]
        ]

    def sensitivity(self, knob: str, file: str = "ranks.parquet") -> list[str]:
        """One file of every data set, run and seed of a table of sensitivity."""
        return self.of_runs(list(self.config.sensitivity(knob)), file, self.config.tables.sensitivity_seeds)

    def values(self, knob: str) -> str:
        """Run -> value of that table, as JSON."""
        return json.dumps(self.config.sensitivity(knob))

    def embedded_models(self) -> list[str]:
        """The trained models whose representations are drawn, of the first seed."""
        return [
            f"results/{dataset}/runs/{run}/seed-{self.config.seeds[0]}/{self.last_stage(run)}/model.safetensors"
            for dataset in self.config.datasets
            for run in self.config.tables.embedding
        ]

    def models(self, runs: list[str]) -> list[str]:
        """The trained models of all stages of these runs."""
        found = []
        for dataset in self.config.datasets:
            owners = [
                (self.first_stage_run(run, dataset) if stage == "stage1" else run, stage)
                for run in runs
                for stage in self._runs[run].stages
            ]
            found += [
                f"results/{dataset}/runs/{owner}/seed-{seed}/{stage}/model.safetensors"
                for owner, stage in dict.fromkeys(owners)
                for seed in self.config.seeds
            ]
        return found

    def first_stages(self, runs: list[str]) -> str:
        """Data set -> run -> the run whose stage 1 it starts from, as JSON."""
        return json.dumps(
            {dataset: {run: self.first_stage_run(run, dataset) for run in runs} for dataset in self.config.datasets}
        )

    def chosen(self, runs: list[str]) -> str:
        """Data set -> run -> values that were chosen there on validation, as JSON."""
        return json.dumps(
            {
                dataset: {run: found[run].model_dump(exclude_unset=True) for run in runs if run in found}
                for dataset, found in self.config.tuned.items()
                if dataset in self.config.datasets
            }
        )

    def references(self) -> list[str]:
        """Runs that the page of results compares with all others."""
        tables = self.config.tables
        return [tables.reference, *(run for run in tables.variants if run in tables.main)]

    def histories(self) -> list[str]:
        """Histories of training on ids alone (the baseline) and on modalities alone (the reference's stage 1)."""
        tables = self.config.tables
        stages = [(run, self._runs[run].stages[0]) for run in (tables.baseline, tables.reference) if run in self._runs]
        return [
            f"results/{dataset}/runs/{self.first_stage_run(run, dataset)}/seed-{seed}/{stage}/history.parquet"
            for dataset in self.config.datasets
            for run, stage in stages
            for seed in self.config.seeds
        ]

    def compared(self) -> list[str]:
        """Runs of the tables of models and of ablations."""
        return list(dict.fromkeys([*self.config.tables.main, *self.config.tables.ablations]))

    def figures(self) -> list[str]:
        """Names of the figures whose tables this configuration has."""
        return [name for name, drawing in FIGURES.items() if set(drawing.tables) <= set(self.tables())]

    def tables(self) -> list[str]:
        """Names of the tables that have runs, in the order of the report."""
        tables = self.config.tables
        optional = {
            "ablations": tables.ablations,
            "retrieval": tables.retrieval,
            "fusion": tables.fusion,
            **{knob: getattr(tables, knob) for knob in KNOBS},
            "curves": [run for run in (tables.baseline,) if run in self._runs],
            "gradients": tables.gradients,
            "embedding": tables.embedding,
        }
        return [name for name in TABLES if optional.get(name, True)]

    def printed_tables(self) -> list[str]:
        """Those that have a page of their own."""
        return [name for name in self.tables() if name not in DRAWN]

    def figure_tables(self, name: str) -> list[str]:
        """The csv files that a figure is drawn from."""
        return [f"results/tables/{table}.csv" for table in FIGURES[name].tables]

    def of_datasets(self, file: str, *sources: str) -> list[str]:
        """One file of every data set, or of those of the given sources."""
        return [f"results/{dataset}/{file}" for dataset in self.datasets(*sources)]

    def images(self, dataset: str) -> list[str]:
        """The outcome of the crawl; nothing for data sets that come with features."""
        return [f"results/{dataset}/images.parquet"] if dataset in self.datasets(*INGESTED) else []

    def shown_models(self, dataset: str) -> list[str]:
        """The trained models whose recommendations are shown, of the first seed."""
        return [
            f"results/{dataset}/runs/{run}/seed-{self.config.seeds[0]}/{self.last_stage(run)}/model.safetensors"
            for run in self.config.report.runs
            if run in self._runs
        ]

    def code(self, step: str) -> str:
        """Fingerprint of the modules that a step uses."""
        return code_fingerprint(STEPS[step])

    def _key(self, run: Run, section: str) -> str:
        values = _json(getattr(run, section))
        return values if section == "graph" else values + _json(run.graph)

    def _key_of(self, run: str, section: str) -> str:
        return self._key(self._runs[run], section)

    def _base_key(self, section: str) -> str:
        base = Run(graph=self.config.graph, interests=self.config.interests)
        return self._key(base, section)

    def _on(self, dataset: str, name: str) -> Run:
        """A run with the values that were chosen on a data set, if any were."""
        return self._tuned.get((dataset, name), self._runs[name])

    def _stage1_key(self, name: str, dataset: str) -> str:
        if "stage1" not in self._runs[name].stages:
            return name
        return self.run(name, "stage1", dataset)


def _json(section: Any) -> str:
    return json.dumps(section.model_dump(mode="json"), sort_keys=True)


@cache
def code_fingerprint(module: str) -> str:
    """Short hash over the source of a module and of the modules of this package that it imports, at any depth."""
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(name.encode())
        digest.update(_file(name).read_bytes())
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or any(name == inert or name.startswith(inert + ".") for inert in INERT):
            continue
        found.add(name)
        waiting.extend(_imports(name))
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, wherever in its source."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.split(".")[0] == "decorec" and _file(name).is_file())


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
