"""What the section of every model has, and says of the model."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from decorec.config.base import Section

__all__ = ["COMMON", "MODAL", "TRANSFORMER", "ModelSection"]

COMMON: dict[str, list[Any]] = {"train.learning_rate": [3e-4, 1e-3], "train.restart": [True, False]}
"""What tuning tries for every trained model."""
TRANSFORMER: dict[str, list[Any]] = {
    **COMMON,
    "model.encoder.dropout": [0.2, 0.5],
    "model.encoder.layers": [1, 2],
    "model.encoder.positions": ["none", "learned"],
}
"""What tuning tries for every model with the common transformer."""
MODAL = ("features.text", "features.image")
"""What a model needs that reads both modalities."""


class ModelSection(Section):
    """What the workflow asks of every model; one that says nothing else is trained in one stage."""

    differences: ClassVar[dict[str, dict[str, Any]]] = {}
    """Values of the model's definition that differ from the defaults of the sections graph, interests and train."""
    space: ClassVar[dict[str, list[Any]]] = {}
    """Key of a run -> values that tuning tries; every model has the same number of trials."""
    seeded: ClassVar[bool] = True
    """Whether anything is drawn at random; if not, one seed stands for all."""
    reads_prefixes: ClassVar[bool] = False
    """Whether a training step reads the items before each prediction anew, whatever ``train.samples`` says."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the training stages, in order."""
        return ("fit",)

    @property
    def needs_times(self) -> bool:
        """Whether the model reads the time stamps of the interactions; not every data set has them."""
        return False

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        return ()

    def for_stage(self, stage: str) -> Self:
        """This section, with values that have no effect on ``stage`` set to their defaults."""
        return self
