"""config.yaml as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from decorec.config.base import Section, explain, merge
from decorec.config.data import CrawlConfig, Dataset, DownloadConfig, FilterConfig
from decorec.config.features import FeaturesConfig
from decorec.config.learning import GraphConfig, InterestsConfig, TrainConfig
from decorec.config.models import ModelConfig
from decorec.config.runs import Run, nested, resolve
from decorec.errors import DecorecError

__all__ = [
    "KNOBS",
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
KNOBS = {"alpha": "model.alpha", "tau": "model.temperature", "clusters": "interests.ratio"}
"""Table of sensitivity -> key of a run whose values it compares."""


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
    alpha: list[float] = []
    """Values of model.alpha in the table of sensitivity to it: each is a run that differs from the reference in that
    value alone. The reference's own is always among them; a run that has the values already is not computed twice."""
    tau: list[float] = []
    """The same for the temperature (model.temperature)."""
    clusters: list[float] = []
    """The same for the number of clusters per item (interests.ratio)."""
    sensitivity_seeds: int = Field(2, ge=1)
    """How many of the seeds, the first ones, the tables of sensitivity use."""
    gradients: list[str] = []
    """Runs whose gradients are drawn: DeCoRec with ids and modalities trained in one stage. Each is trained once more
    with the first seed, so that the training that is measured elsewhere is not slowed by looking."""
    probe_every: int = Field(10, ge=1)
    """Steps between two looks at the gradients, after the first 50 steps, which are all looked at."""
    embedding: list[str] = []
    """Runs of DeCoRec whose representations of items are drawn (t-SNE, first seed), side by side."""
    reference: str = "decorec"
    """Run that every other one is tested against."""
    variants: list[str] = ["decorec-plus"]
    """Runs that the page of results compares with every other one as well, those of them that the main table has. They
    are not tuned: what is chosen for their model holds for them."""
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
        compared = ("main", "ablations", "retrieval", "fusion")
        for table in (*compared, "gradients", "embedding"):
            runs = getattr(self.tables, table)
            for name in runs:
                if name not in self.runs:
                    raise ValueError(f"tables.{table} names {name!r}; expected one of the runs {sorted(self.runs)}")
            if runs and table in compared and self.tables.reference not in runs:
                raise ValueError(f"tables.{table} lacks tables.reference ({self.tables.reference!r}); add it")
        for name in self.runs:
            try:
                self.run(name)
            except ValidationError as error:
                raise ValueError(explain(error, f"runs.{name}")) from error
        for name in self.tables.embedding:
            if self.run(name).model.name != "decorec":
                raise ValueError(f"tables.embedding names {name!r}; expected a run of decorec")
        for name in self.tables.gradients:
            model = self.run(name).model
            if model.name != "decorec" or model.phased or not model.ids:
                raise ValueError(
                    f"tables.gradients names {name!r}; expected a run of decorec with model.phased: false and "
                    "model.ids: true"
                )
        self.every_run()
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
        return self._resolved(name, dataset, {})

    def every_run(self, dataset: str | None = None) -> dict[str, Run]:
        """All runs by name: those of ``runs``, then those that the tables of sensitivity add.

        With ``dataset``, the values that were chosen there are in force.

        Raises:
            ValueError: a value is out of its bounds, or the reference does not have it.
        """
        found = {name: self.run(name, dataset) for name in self.runs}
        for table in KNOBS:
            for name, value in self.sensitivity(table).items():
                if name not in found:
                    found[name] = self._varied(table, value, dataset)
        return found

    def sensitivity(self, table: str) -> dict[str, float]:
        """Run -> value of each run of a table of sensitivity, in ascending order of the values; empty without any.

        A declared run stands for a value if it is the reference with that value on every data set.
        """
        values = getattr(self.tables, table)
        if not values:
            return {}
        section, _, key = KNOBS[table].partition(".")
        own = getattr(getattr(self.run(self.tables.reference), section), key, None)
        if own is None:
            raise ValueError(f"tables.{table}: tables.reference ({self.tables.reference!r}) has no {KNOBS[table]}")
        places = (None, *self.tuned)
        declared = {name: [self.run(name, place) for place in places] for name in (self.tables.reference, *self.runs)}
        found: dict[str, float] = {}
        for value in sorted({float(own), *values}):
            runs, name = [self._varied(table, value, place) for place in places], f"{table}-{value:g}".replace(".", "-")
            if declared.get(name, runs) != runs:
                raise ValueError(f"runs.{name}: expected the run of tables.{table} at {value:g}, found other values")
            found[next((other for other, same in declared.items() if same == runs), name)] = value
        return found

    def _varied(self, table: str, value: float, dataset: str | None) -> Run:
        """The reference with another value of a table of sensitivity."""
        try:
            return self._resolved(self.tables.reference, dataset, nested({KNOBS[table]: value}))
        except ValidationError as error:
            raise ValueError(explain(error, f"tables.{table}")) from error

    def _resolved(self, name: str, dataset: str | None, change: Mapping[str, Any]) -> Run:
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
        difference = merge(difference, change)
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
