"""Training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from decorec.config.base import Section

__all__ = ["StageConfig", "TrainConfig", "TuningConfig"]


class StageConfig(Section):
    """One training loop."""

    epochs: int = Field(300, ge=1)
    """Most passes over the training sequences."""
    patience: int = Field(10, ge=1)
    """Epochs without improvement before training stops."""
    monitor: str = Field("NDCG@10", pattern=r"^((Hit|NDCG|MRR)@[1-9]\d*|loss)$")
    """Validation figure that decides which epoch is best: a metric, or loss."""
    decimals: int | None = Field(None, ge=1)
    """Decimals that the monitored figure is rounded to; then an equal later epoch counts as better, as in RecBole.
    Default: full precision, and only a better epoch counts."""
    batch_size: int = Field(512, ge=1)
    """Targets per step."""
    samples: Literal["sequences", "prefixes"] = "sequences"
    """sequences: one pass over a sequence predicts after each of its items; prefixes: one row per prefix, shuffled."""
    horizon: int = Field(1, ge=1, le=50, exclude_if=lambda horizon: horizon == 1)
    """Items after a prediction that it is trained to give: the next one, or so many, the k-th of which counts 1 / k
    (decorec-plus); models without it refuse. Not written where it is 1, so that what is tracked of a run is what it was
    before the key existed."""
    negatives: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Items in the denominator of the loss beside the target: all, or so many drawn per step and corrected for their
    probability (logQ). For shops where the full softmax takes too long; models without it refuse."""
    learning_rate: float = Field(1e-3, gt=0)
    """Adam's rate for everything but ids and interests."""
    id_learning_rate: float = Field(1e-4, ge=0)
    """Adam's rate for ids and interests of DeCoRec in stage 2; 0 leaves them at their start."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 weight of Adam."""
    clip: float | None = Field(1.0, gt=0)
    """Largest gradient norm."""
    stale_gradients: bool = False
    """Never clear the gradients of parameters whose rate is 0, so that they pile up in the norm that is clipped, as in
    the released code."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Decay of Adam's second moment."""
    restart: bool = True
    """Start Adam's moments anew every epoch, as the released code does; better on validation than one long run."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs of linear warm-up."""
    averaging: float = Field(0.99, ge=0, lt=1)
    """Decay per step of an exponential moving average of the weights that is evaluated and kept; 0: none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass."""


class TrainConfig(StageConfig):
    """Training: common values, and what differs per stage."""

    stage1: dict[str, Any] = {}
    """Differences of DeCoRec's stage 1 from the common values."""
    stage2: dict[str, Any] = {"learning_rate": 1e-4}
    """Differences of DeCoRec's stage 2 from the common values."""
    fit: dict[str, Any] = {}
    """Differences of the other models' only stage from the common values."""

    def stage(self, name: str) -> StageConfig:
        """The values in force in ``stage1``, ``stage2`` or ``fit``."""
        common = {key: getattr(self, key) for key in StageConfig.model_fields}
        return StageConfig.model_validate(common | getattr(self, name))

    @model_validator(mode="after")
    def _stages_are_valid(self) -> TrainConfig:
        for name in ("stage1", "stage2", "fit"):
            self.stage(name)
        return self

    @field_validator("stage2")
    @classmethod
    def _gentle(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Stage 2 goes on from a finished encoder: unless told otherwise, at a tenth of the usual rate."""
        return {"learning_rate": 1e-4, **value}

    @field_validator("stage1", "stage2", "fit")
    @classmethod
    def _known_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(sorted(value.items()))


class TuningConfig(Section):
    """Choice of values on validation NDCG@10, for every run of the main table that has something to choose."""

    trials: int = Field(8, ge=1)
    """Trials per run and data set; the first one has the run's own values."""
    seed: int = Field(0, ge=0)
    """Seed of the order of the trials and of every training."""
