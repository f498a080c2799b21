"""The complete configuration, config.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from decorec.artifacts.layout import RESULTS, TAKEN
from decorec.config.acquire import CrawlConfig, DownloadConfig
from decorec.config.base import Distinct, Section, explain, merge
from decorec.config.dask import DaskConfig
from decorec.config.datasets import Dataset
from decorec.config.evaluation import EvaluateConfig
from decorec.config.experts import ExpertsConfig
from decorec.config.external import ExternalConfig
from decorec.config.features import FeaturesConfig
from decorec.config.models import ModelConfig
from decorec.config.prepare import FilterConfig, GraphConfig, InterestsConfig, SplitConfig
from decorec.config.recommend import RecommendConfig
from decorec.config.runs import SECTIONS, Run, nested, resolve
from decorec.config.search_space import expect_search_space
from decorec.config.tables import KNOBS, LISTS, ReportConfig, TablesConfig
from decorec.config.training import TrainConfig, TuningConfig
from decorec.errors import DecorecError

__all__ = ["Config", "RunDifference", "TunedDifference", "describe", "load", "schema"]

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
NOT_OF_GIVEN_SPLITS = {"filter": ("kcore", "duplicates", "require"), "features": ("text", "image", "length")}
"""Section -> its keys that choose what is computed, and that a data set with given splits and features does not heed.
features.encoder is not among them: config.yaml has it for all data sets."""


def _expect_no_curves(train: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is for all runs together."""
    if "tensorboard" in train:
        raise ValueError("tensorboard is for all runs together; put it into the section train")
    return train


class RunDifference(Section):
    """A run, as differences from the base sections."""

    method: Literal["described", "released"] = "described"
    """Preset to which the differences are applied."""
    graph: dict[str, Any] = {}
    """Differences of the section graph."""
    interests: dict[str, Any] = {}
    """Differences of the section interests."""
    model: dict[str, Any] = {}
    """Differences of the section model."""
    experts: dict[str, Any] = {}
    """Differences of the section experts."""
    train: dict[str, Any] = {}
    """Differences of the section train."""

    _without = field_validator("train")(_expect_no_curves)


class TunedDifference(Section):
    """Values of a run that were chosen on one data set."""

    model: dict[str, Any] = {}
    """Differences of the section model."""
    train: dict[str, Any] = {}
    """Differences of the section train."""

    _without = field_validator("train")(_expect_no_curves)


class Config(Section):
    """The complete configuration."""

    datasets: dict[str, Dataset] = Field(min_length=1)
    """Data sets by name; the name becomes the folder under results/."""
    download: DownloadConfig = DownloadConfig()
    crawl: CrawlConfig = CrawlConfig()
    features: FeaturesConfig = FeaturesConfig()
    filter: FilterConfig = FilterConfig()
    split: SplitConfig = SplitConfig()
    graph: GraphConfig = GraphConfig()
    interests: InterestsConfig = InterestsConfig()
    model: ModelConfig = Field(default_factory=lambda: Run().model)
    experts: ExpertsConfig = ExpertsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    dask: DaskConfig = DaskConfig()
    reproducible: bool = False
    """Compute with the instructions that all x86-64 processors with AVX2 have, so that results do not depend on the
    processor; slower, and not for GPUs."""
    seeds: Distinct[int] = Field([0, 1, 2, 3, 4], min_length=1)
    """Seeds of training; every run is trained once per seed, and floors, which draw nothing at random, once in all."""
    runs: dict[str, RunDifference] = {
        "decorec": RunDifference(),
        "sasrec": RunDifference(model={"name": "sasrec"}),
    }
    """Runs by name, each with its differences from the sections above."""
    tuned: dict[str, dict[str, TunedDifference]] = {}
    """Data set -> run -> values chosen there on validation items, which replace the run's own; `decorec tuned` writes
    them. A run without an entry applies its differences to the values of the run with its model's name (an ablation to
    those of decorec); presets do not. Data sets that are not configured may be listed too; a call says so where such
    a name is nearly that of a configured one."""
    external: dict[str, ExternalConfig] = {}
    """Recommendations of other programs by name, which the table external puts beside the runs of the main table."""
    tables: TablesConfig = TablesConfig()
    report: ReportConfig = ReportConfig()
    recommend: RecommendConfig = RecommendConfig()
    tuning: TuningConfig = TuningConfig()

    @field_validator("datasets", "runs", "tuned", "external")
    @classmethod
    def _names(cls, value: dict[str, Any], field: ValidationInfo) -> dict[str, Any]:
        taken = TAKEN if field.field_name in ("datasets", "tuned") else (RESULTS,)
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"names are lower-case letters, digits and hyphens, found {name!r}")
            if name in taken:
                raise ValueError(
                    f"expected other names than {', '.join(taken)}, whose folders have other files, found {name!r}; "
                    "rename it"
                )
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        return {"name": "decorec", **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _given_splits_have_what_is_asked_of_them(self) -> Config:
        given = [name for name, section in self.datasets.items() if section.source == "atomic"]
        if given and self.split.protocol == "temporal":
            raise ValueError(
                f"split.protocol is temporal, but datasets.{given[0]} (source atomic) has given splits without times; "
                "take it out, read its interactions from another source, or leave split.protocol at leave-one-out"
            )
        if given and self.filter.least_rating is not None:
            raise ValueError(
                f"filter.least_rating is {self.filter.least_rating:g}, but datasets.{given[0]} (source atomic) has "
                "given splits without ratings; take one of them out"
            )
        if len(given) == len(self.datasets):
            self._expect_what_given_splits_heed()
        return self

    def _expect_what_given_splits_heed(self) -> None:
        """Refuse values that no data set heeds, where all have given splits and features: tables would not change."""
        chosen: dict[str, Any] = {}
        for name, idle in NOT_OF_GIVEN_SPLITS.items():
            own: Section = getattr(self, name)
            default = type(own)()
            chosen |= {f"{name}.{key}": getattr(own, key) for key in idle if getattr(own, key) != getattr(default, key)}
        if chosen:
            keys = ", ".join(f"{key} is {value}" for key, value in chosen.items())
            raise ValueError(
                f"{keys}, but the splits and features of {', '.join(self.datasets)} (source atomic) are taken as they "
                "are, so that it would change nothing; take it out, and change the files of the data set (their "
                "features: datasets.<name>.features, and length beside it)"
            )

    @model_validator(mode="after")
    def _external_files_are_apart(self) -> Config:
        for name, section in self.external.items():
            if name in self.runs:
                raise ValueError(f"external.{name}: expected a name that no run has, found that of a run; rename it")
            if len(self.datasets) > 1 and "{dataset}" not in section.path:
                raise ValueError(
                    f"external.{name}.path: expected {{dataset}} in it, since there are several data sets, found "
                    f"{section.path!r}; add it"
                )
        return self

    @model_validator(mode="after")
    def _tables_name_runs(self) -> Config:
        compared = ("main", "ablations", "retrieval", "fusion", "readings")
        for table in LISTS:
            runs = getattr(self.tables, table)
            for name in runs:
                if name not in self.runs:
                    raise ValueError(f"tables.{table} names {name!r}; expected one of the runs {sorted(self.runs)}")
            if runs and table in compared and self.tables.reference not in runs:
                raise ValueError(f"tables.{table} lacks tables.reference ({self.tables.reference!r}); add it")
        if self.recommend.run is not None and self.recommend.run not in self.runs:
            raise ValueError(
                f"recommend.run names {self.recommend.run!r}; expected one of the runs {sorted(self.runs)}"
            )
        for name in self.runs:
            try:
                self.run(name)
            except ValidationError as error:
                raise ValueError(explain(error, f"runs.{name}", Run)) from error
        for table in ("embedding", "gates"):
            for name in getattr(self.tables, table):
                if self.run(name).model.name != "decorec":
                    raise ValueError(f"tables.{table} names {name!r}; expected a run of decorec")
        for name in self.tables.gradients:
            model = self.run(name).model
            if model.name != "decorec" or model.phased or not model.ids or self.run(name).train.start is not None:
                raise ValueError(
                    f"tables.gradients names {name!r}; expected a run of decorec with model.phased: false and "
                    "model.ids: true, and without train.start"
                )
        self._expect_a_verdict()
        for name, run in self.every_run().items():
            self._expect_modalities(name, run)
        return self

    def _expect_a_verdict(self) -> None:
        """Refuse a run of the verdict that has no modalities, or still reads some where its twin should not."""
        name = self.tables.verdict
        if name is None:
            return
        if name not in self.runs:
            raise ValueError(f"tables.verdict names {name!r}; expected one of the runs {sorted(self.runs)}")
        model = self.run(name).model
        if model.name != "decorec" or not model.modalities:
            raise ValueError(f"tables.verdict names {name!r}; expected a run of decorec with modalities, or null")
        if _features(self._alone((), None)):
            raise ValueError(
                f"tables.verdict names {name!r}; expected a run that reads no text and no picture once "
                "model.modalities is empty, found experts that read some; name another run"
            )

    def _expect_modalities(self, name: str, run: Run) -> None:
        """Refuse a run that needs features that a data set does not have."""
        needed = _features(run)
        for dataset, section in self.datasets.items():
            if missing := sorted(needed - set(section.modalities)):
                raise ValueError(
                    f"runs.{name}: expected modalities of the data set {dataset!r} ({', '.join(section.modalities)}), "
                    f"found {', '.join(missing)}; correct model.modalities, or add the file to "
                    f"datasets.{dataset}.features (source atomic)"
                )

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
                    raise ValueError(explain(error, f"tuned.{dataset}.{name}", Run)) from error
                if stages != self.run(name).stages:
                    raise ValueError(f"tuned.{dataset}.{name}: expected values that leave the stages of the run alone")
        return self

    @model_validator(mode="after")
    def _search_spaces_fit_their_runs(self) -> Config:
        for name in self.tuning.space:
            if name not in self.tables.main:
                raise ValueError(f"tuning.space names {name!r}; expected a run of tables.main: {self.tables.main}")
        for name in self.tables.main:
            own = self.tuning.space.get(name)
            expect_search_space(self.run(name), own, f"tuning.space.{name}", f"runs.{name}")
        return self

    def run(self, name: str, dataset: str | None = None) -> Run:
        """The run ``name``: base sections, preset and difference, merged and validated.

        With ``dataset``, the values that were chosen there are used.
        """
        return self._resolved(name, dataset, {})

    def every_run(self, dataset: str | None = None) -> dict[str, Run]:
        """All runs by name: those in ``runs``, then those that the tables of sensitivity and the verdict add.

        With ``dataset``, the values that were chosen there are used.

        Raises:
            ValueError: a value is out of bounds, or the reference does not have the key.
        """
        found = {name: self.run(name, dataset) for name in self.runs}
        for table in KNOBS:
            for name, value in self.sensitivity(table).items():
                if name not in found:
                    found[name] = self._varied(table, value, dataset)
        for modalities, name in self.twins().items():
            if name not in found:
                found[name] = self._alone(modalities, dataset)
        return found

    def twins(self) -> dict[tuple[str, ...], str]:
        """Modalities -> the run of the verdict that has these alone: all of tables.verdict, each one, and none.

        A declared run is used if it has the same values on every data set.
        """
        name = self.tables.verdict
        if name is None:
            return {}
        model = self.run(name).model
        assert model.name == "decorec"
        every = tuple(model.modalities)
        known, found = self._declared(name), {}
        for modalities in dict.fromkeys((every, *((one,) for one in every), ())):
            runs = [self._alone(modalities, place) for place in self._places]
            own = f"{name}-{'-'.join(modalities) or 'ids'}-alone"
            what = f"tables.verdict with {' and '.join(modalities) or 'ids'} alone"
            found[modalities] = _named(known, runs, own, what)
        return found

    def _alone(self, modalities: tuple[str, ...], dataset: str | None) -> Run:
        """The run of the verdict with some of its modalities, trained from nothing: an earlier one had all of them."""
        change = {"model": {"modalities": list(modalities)}, "train": {"start": None}}
        try:
            return self._resolved(str(self.tables.verdict), dataset, change)
        except ValidationError as error:
            advice = "\n  without a verdict: tables: {verdict: null}"
            raise ValueError(explain(error, "tables.verdict") + advice) from error

    @property
    def _places(self) -> tuple[str | None, ...]:
        """Where a run may have values of its own: nowhere, and on each data set here that it was tuned on."""
        return (None, *(dataset for dataset in self.datasets if dataset in self.tuned))

    def _declared(self, first: str) -> dict[str, list[Run]]:
        """The declared runs, ``first`` before the others, each with its values in every place."""
        return {name: [self.run(name, place) for place in self._places] for name in (first, *self.runs)}

    def sensitivity(self, table: str) -> dict[str, float]:
        """Run -> value of each run of a table of sensitivity, in ascending order of the values, or empty.

        A declared run is used for a value if it equals the reference with that value on every data set.
        """
        values = getattr(self.tables, table)
        if not values:
            return {}
        section, _, key = KNOBS[table].partition(".")
        own = getattr(getattr(self.run(self.tables.reference), section), key, None)
        if own is None:
            raise ValueError(f"tables.{table}: tables.reference ({self.tables.reference!r}) has no {KNOBS[table]}")
        known = self._declared(self.tables.reference)
        found: dict[str, float] = {}
        for value in sorted({float(own), *values}):
            runs, name = [self._varied(table, value, place) for place in self._places], f"{table}-{value:g}"
            found[_named(known, runs, name.replace(".", "-"), f"tables.{table} at {value:g}")] = value
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
            difference = merge(chosen.get(str(model), {}), difference)
        difference = merge(difference, change)
        base = {key: getattr(self, key).model_dump(exclude_unset=True) for key in SECTIONS}
        return resolve(base, method, difference)


def _named(known: Mapping[str, list[Run]], runs: list[Run], own: str, what: str) -> str:
    """The first known run with the values ``runs`` in every place; otherwise ``own``, which must not be another run.

    Raises:
        ValueError: it is; ``what`` says which run was expected under that name.
    """
    if known.get(own, runs) != runs:
        raise ValueError(f"runs.{own}: expected the run of {what}, found other values")
    return next((name for name, same in known.items() if same == runs), own)


def _features(run: Run) -> set[str]:
    """Modalities whose features or interests a run reads."""
    return {need.partition(".")[2] for need in run.every_need()} - {""}


def load(values: Mapping[str, Any], origin: str = "config.yaml") -> Config:
    """Validate ``values``.

    Raises:
        DecorecError: the values are not valid; the message names each key, what was expected and what was found.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise DecorecError(explain(error, origin, Config)) from error


def describe() -> dict[str, Any]:
    """The JSON schema of config.yaml, for editors and ``workflow/schemas/config.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def schema(*, output: Path) -> None:
    """Write the JSON schema of config.yaml.

    Args:
        output: the schema (written), a JSON file.
    """
    from decorec.artifacts.files import write_text

    write_text(output, json.dumps(describe(), indent=2, ensure_ascii=False) + "\n")
