"""A run: the base sections of the configuration, a preset and the run's differences, merged and validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self, get_args

from pydantic import Field, RootModel, model_validator

from decorec.config.base import Section, merge
from decorec.config.experts import ExpertsConfig
from decorec.config.models import ModelConfig
from decorec.config.prepare import GraphConfig, InterestsConfig, Normalisation
from decorec.config.training import STAGES, TrainConfig

__all__ = ["PRESETS", "SECTIONS", "Overlaid", "Run", "flat", "nested", "resolve", "with_values"]

PRESETS: dict[str, dict[str, Any]] = {
    "described": {},
    # What the authors' released code computes instead of what the paper says.
    "released": {
        "graph": {"distance": "1/(D+1)"},
        "interests": {"normalisation": "released", "gate": 0.01},
        "model": {
            "normalisation": "released",
            "modal_layers": 0,
            "id_enrichment": "mean",
            "interest_mlp": False,
            "id_deviation": 0.02,
            "gate": 1.0,
            "alpha": 1.0,
            "scoring": "exponentials",
            "padding_negative": True,
            "initialisation": "torch",
        },
        "train": {
            "samples": "prefixes",
            "monitor": "NDCG@11",
            "decimals": 4,
            "patience": 11,
            "restart": True,
            "averaging": 0.0,
            "stale_gradients": True,
            "stage2": {"learning_rate": 1e-3, "id_learning_rate": 0.0},
        },
    },
}
"""Presets: differences from the defaults of the sections."""

SECTIONS = ("graph", "interests", "model", "experts", "train")


class Run(Section):
    """All values that determine what a run computes from a data set."""

    graph: GraphConfig = GraphConfig()
    interests: InterestsConfig = InterestsConfig()
    model: ModelConfig = Field(default_factory=lambda: _default_model())
    experts: ExpertsConfig = Field(ExpertsConfig(), exclude_if=lambda experts: not experts.active)
    """Not written if there are none, so that the tracked values of a run are the same as before the section existed."""
    train: TrainConfig = TrainConfig()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its training stages, in order."""
        return self.model.stages

    @property
    def devices(self) -> int:
        """Processes that train it together on each node; a floor is not trained."""
        return self.train.devices if self.model.seeded else 1

    @property
    def nodes(self) -> int:
        """Machines that train it together."""
        return self.train.nodes if self.model.seeded else 1

    @property
    def normalisation(self) -> Normalisation:
        """Of its co-occurrence matrix, which model and experts share."""
        given = (getattr(section, "normalisation", None) for section in (self.model, self.experts.floor))
        return next((one for one in given if one is not None), "symmetric")

    @model_validator(mode="after")
    def _one_matrix(self) -> Self:
        wanted = getattr(self.experts.floor, "normalisation", None)
        if wanted not in (None, self.normalisation):
            raise ValueError(
                f"experts.floor.normalisation: expected {self.normalisation}, as model.normalisation, since a run has "
                f"one co-occurrence matrix, found {wanted}; write the same in both, or take another floor"
            )
        return self

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of ``stage`` besides the sequences: features.text, interests.image, graph, ..."""
        experts = self.experts.needs() if stage == self.stages[-1] else ()
        return tuple(dict.fromkeys((*self.model.needs(stage), *experts)))

    def every_need(self) -> set[str]:
        """Inputs of all stages besides the sequences."""
        return {need for stage in self.stages for need in self.needs(stage)}

    def for_stage(self, stage: str) -> Run:
        """This run, with values that have no effect on ``stage`` set to their defaults; equal values: equal results."""
        ignored_stages = {name for name in STAGES if name != stage}
        train = self.train.model_copy(update={name: {} for name in ignored_stages})
        needs = {need.partition(".")[0] for need in self.needs(stage)}
        return self.model_copy(
            update={
                "graph": self.graph if "graph" in needs else GraphConfig(),
                "interests": self.interests if "interests" in needs else InterestsConfig(),
                "model": self.model.for_stage(stage),
                "experts": self.experts if stage == self.stages[-1] else ExpertsConfig(),
                # A floor is not trained: no epochs, no batches, no learning rate.
                "train": train if self.model.seeded else TrainConfig(),
            }
        )

    def from_nothing(self) -> Run:
        """This run, without an earlier checkpoint to start from."""
        return self.model_copy(update={"train": self.train.model_copy(update={"start": None})})

    def trial(self) -> Run:
        """This run, as a trial of tuning trains it."""
        return self.model_copy(update={"train": self.train.trial()})

    def at(self, key: str) -> Any:
        """The value in effect at a dotted key, such as ``model.encoder.dropout`` or ``train.stage1.epochs``.

        A stage without a value of its own has the common one.
        """
        section, *rest = key.split(".")
        if section == "train" and len(rest) == 2:
            return getattr(self.train.stage(rest[0]), rest[1])
        value = getattr(self, section)
        for part in rest:
            value = getattr(value, part)
        return value

    def dump(self) -> dict[str, Any]:
        """Plain values, keys in a fixed order."""
        return self.model_dump(mode="json")


class Overlaid(RootModel[dict[str, tuple[Run, list[str]]]]):
    """Run -> its values, and the keys of it for which the configuration has values that were chosen before."""


def _default_model() -> Any:
    from decorec.config.decorec import DecorecConfig

    return DecorecConfig()


def _definition(model: object) -> Mapping[str, Any]:
    """Values of the definition of ``model`` in the other sections; an unknown name is refused later."""
    found: dict[str, Mapping[str, Any]] = {
        get_args(section.model_fields["name"].annotation)[0]: section.differences
        for section in get_args(get_args(ModelConfig)[0])
    }
    return found.get(str(model), {})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as mappings within mappings."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        found = merge(found, value)
    return found


def with_values(run: Run, values: Mapping[str, Any]) -> Run:
    """``run`` with other values at some of its keys ("model.encoder.dropout": 0.2)."""
    return Run.model_validate(merge(run.dump(), nested(values)))


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Mappings within mappings as dotted keys with their values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def resolve(base: Mapping[str, Any], method: Literal["described", "released"], difference: Mapping[str, Any]) -> Run:
    """The run that ``difference`` describes.

    ``base`` holds the sections of the configuration as the user wrote them. Its model section is for its own model: a
    run with another model starts from that model's defaults. Values of a model's definition (``differences`` of its
    section) stand before those of the base, and the difference before both.
    """
    sections = {name: base.get(name, {}) for name in SECTIONS}
    difference = merge(PRESETS[method], difference)
    base_model = sections["model"].get("name", "decorec")
    model = difference.get("model", {}).get("name", base_model)
    if model != base_model:
        sections["model"] = {}
    sections = merge(merge(sections, _definition(model)), difference)
    sections["model"] = {"name": model, **sections["model"]}
    return Run.model_validate(sections)
