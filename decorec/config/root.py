"""config.yaml as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from decorec.config.base import Section, explain
from decorec.config.data import CrawlConfig, Dataset, DownloadConfig, FilterConfig
from decorec.config.features import FeaturesConfig
from decorec.config.learning import GraphConfig, InterestsConfig, TrainConfig
from decorec.config.models import ModelConfig
from decorec.config.runs import Run, merge, resolve
from decorec.errors import DecorecError

__all__ = [
    "Config",
    "EvaluateConfig",
    "ReportConfig",
    "RunDifference",
    "TablesConfig",
    "TunedDifference",
    "TuningConfig",
    "describe",
    "load",
    "read",
    "schema",
]

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class EvaluateConfig(Section):
    """Ranking and statistics."""

    mask_history: bool = False
    """Exclude the items of the user's history from the candidates (this literature: false)."""
    bootstrap: int = Field(1_000, ge=100)
    """Resamples of users behind each confidence interval."""
    level: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of the confidence intervals."""


class RunDifference(Section):
    """A run, as a difference against the base sections."""

    method: Literal["described", "released"] = "described"
    """Preset that the difference is laid over."""
    graph: dict[str, Any] = {}
    """Differences of the section graph."""
    interests: dict[str, Any] = {}
    """Differences of the section interests."""
    model: dict[str, Any] = {}
    """Differences of the section model."""
    train: dict[str, Any] = {}
    """Differences of the section train."""


class TunedDifference(Section):
    """Values of a run that were chosen on one data set."""

    model: dict[str, Any] = {}
    """Differences of the section model."""
    train: dict[str, Any] = {}
    """Differences of the section train."""


class TablesConfig(Section):
    """Which runs stand in which table."""

    main: list[str] = ["decorec", "sasrec"]
    """Runs of the main table, in order of their rows."""
    ablations: list[str] = []
    """Runs of the table of ablations, in order of their rows."""
    retrieval: list[str] = []
    """Runs of DeCoRec in the table of modes of scoring: by image, by text, by both apart, by both across."""
    fusion: list[str] = []
    """Runs of the table of fusion: ids alone, modalities alone, both naively, in order of their rows."""
    reference: str = "decorec"
    """Run that every other one is tested against."""
    baseline: str = "sasrec"
    """Run that the gains on cold users are counted from, if the main table has it."""
    cold: float = Field(0.4, gt=0, lt=1)
    """Share of the users that counts as cold: those with the fewest training interactions."""
    predictions: int = Field(10, ge=1)
    """Predictions per user, on average, in the table of recall."""


class ReportConfig(Section):
    """The page with everything."""

    runs: list[str] = ["decorec", "sasrec"]
    """Runs whose recommendations are shown side by side; those that do not exist are left out."""
    users: int = Field(6, ge=1, le=100)
    """Users shown per data set, drawn at random."""


class TuningConfig(Section):
    """Choice of values on validation NDCG@10, for every run of the main table that has something to choose."""

    trials: int = Field(8, ge=1)
    """Trials per run and data set; the first one has the run's own values."""
    seed: int = Field(0, ge=0)
    """Seed of the order of the trials and of every training."""


class Config(Section):
    """The whole configuration."""

    datasets: dict[str, Dataset] = Field(min_length=1)
    """Data sets by name; the name becomes the folder under results/."""
    download: DownloadConfig = DownloadConfig()
    crawl: CrawlConfig = CrawlConfig()
    features: FeaturesConfig = FeaturesConfig()
    filter: FilterConfig = FilterConfig()
    graph: GraphConfig = GraphConfig()
    interests: InterestsConfig = InterestsConfig()
    model: ModelConfig = Field(default_factory=lambda: Run().model)
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1)
    """Seeds of training; every run is trained once per seed."""
    runs: dict[str, RunDifference] = {
        "decorec": RunDifference(),
        "sasrec": RunDifference(model={"name": "sasrec"}),
    }
    """Runs by name, each a difference against the sections above."""
    tuned: dict[str, dict[str, TunedDifference]] = {}
    """Data set -> run -> values chosen there on validation, laid over the run's own; `decorec tuned` writes them. A run
    without any lays its difference over those of the run that is called like its model (an ablation over decorec's);
    presets do not. Data sets that are not configured may stand here too."""
    tables: TablesConfig = TablesConfig()
    report: ReportConfig = ReportConfig()
    tuning: TuningConfig = TuningConfig()

    @field_validator("datasets", "runs")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"names are lower-case letters, digits and hyphens, found {name!r}")
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        return {"name": "decorec", **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _tables_name_runs(self) -> Config:
        for table in ("main", "ablations", "retrieval", "fusion"):
            for name in getattr(self.tables, table):
                if name not in self.runs:
                    raise ValueError(f"tables.{table} names {name!r}; expected one of the runs {sorted(self.runs)}")
            if getattr(self.tables, table) and self.tables.reference not in getattr(self.tables, table):
                raise ValueError(f"tables.{table} lacks tables.reference ({self.tables.reference!r}); add it")
        for name in self.runs:
            try:
                self.run(name)
            except ValidationError as error:
                raise ValueError(explain(error, f"runs.{name}")) from error
        return self

    @model_validator(mode="after")
    def _tuned_values_fit_their_runs(self) -> Config:
        for dataset, chosen in self.tuned.items():
            for name in chosen:
                if name not in self.runs:
                    raise ValueError(f"tuned.{dataset} names {name!r}; expected one of the runs {sorted(self.runs)}")
            for name in self.runs:
                try:
                    stages = self.run(name, dataset).stages
                except ValidationError as error:
                    raise ValueError(explain(error, f"tuned.{dataset}.{name}")) from error
                if stages != self.run(name).stages:
                    raise ValueError(f"tuned.{dataset}.{name}: expected values that leave the stages of the run alone")
        return self

    def run(self, name: str, dataset: str | None = None) -> Run:
        """The run ``name``: base sections, preset and difference, merged and validated.

        With ``dataset``, the values that were chosen there are in force.
        """
        method = self.runs[name].method
        difference = self.runs[name].model_dump(exclude={"method"}, exclude_unset=True)
        chosen = {
            run: values.model_dump(exclude_unset=True) for run, values in self.tuned.get(dataset or "", {}).items()
        }
        if name in chosen:
            difference = merge(difference, chosen[name])
        elif method == "described":
            model = difference.get("model", {}).get("name", self.model.name)
            difference = merge(chosen.get(model, {}), difference)
        base = {
            key: getattr(self, key).model_dump(exclude_unset=True) for key in ("graph", "interests", "model", "train")
        }
        return resolve(base, method, difference)


def load(values: Mapping[str, Any], origin: str = "config.yaml") -> Config:
    """Validate ``values``.

    Raises:
        DecorecError: naming each key, what was expected and what was found.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise DecorecError(explain(error, origin)) from error


def describe() -> dict[str, Any]:
    """The JSON schema of config.yaml, for editors and ``workflow/schemas/config.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def schema(*, output: Path) -> None:
    """Write the JSON schema of config.yaml."""
    from decorec.artifacts import write_json

    write_json(output, describe())


def read(path: Path) -> Config:
    """Read and validate one YAML file."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DecorecError(f"{path}: expected a YAML file, found {error}") from error
    return load(values or {}, str(path))
