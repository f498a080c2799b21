"""Sections of training and tuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, RootModel, field_validator, model_validator

from decorec.config.base import Distinct, Section

__all__ = ["STAGES", "SearchSpace", "StageConfig", "TrainConfig", "TuningConfig"]

STAGES = "stage1", "stage2", "fit"
"""Names of the stages of all models."""


class StageConfig(Section):
    """Training of one stage."""

    epochs: int = Field(300, ge=1)
    """Largest number of passes over the training sequences."""
    patience: int = Field(10, ge=1)
    """Epochs without improvement before training stops."""
    least_epochs: int = Field(0, ge=0, exclude_if=lambda epochs: epochs == 0)
    """Epochs before which patience does not stop it: some models first learn what is popular, and improve again only
    after more epochs than patience allows. Not written if 0, so that the tracked values of a run are the same as before
    the key existed."""
    monitor: str = Field("NDCG@10", pattern=r"^((Hit|NDCG|MRR)@[1-9]\d*|loss)$")
    """Validation value that decides which epoch is best: a metric, or loss."""
    decimals: int | None = Field(None, ge=1)
    """Decimals to which the monitored value is rounded; then a later epoch with an equal value counts as better, as
    in RecBole. Default: full precision, and only a better value counts."""
    batch_size: int = Field(512, ge=1)
    """Number of targets per step."""
    samples: Literal["sequences", "prefixes"] = "sequences"
    """sequences: one pass over a sequence predicts after each of its items; prefixes: one row per prefix, shuffled."""
    horizon: int = Field(1, ge=1, le=50, exclude_if=lambda horizon: horizon == 1)
    """Number of next items that are targets of a prediction; the k-th has the weight 1 / k (decorec-plus). Models
    without this feature refuse other values than 1. Not written if 1, so that the tracked values of a run are the same
    as before the key existed."""
    negatives: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Items in the denominator of the loss besides the target: all, or this many drawn per step and corrected for their
    probability (logQ). For shops for which the full softmax takes too long; models without this feature refuse it. A
    step then reads the items of its batch, those drawn, and what the graph has within reach of them, and changes their
    ids alone: Adam's moments of an id stand still in between, and its second moment is one number."""
    cold_ids: Literal["trained", "mean"] = Field("trained", exclude_if=lambda ids: ids == "trained")
    """Ids of items without an interaction in the training part, where users are ranked. trained: as training left them,
    which is noise. mean: the mean of the other ids, for every model alike, so that content decides between such items.
    Not written if trained, so that the tracked values of a run are the same as before the key existed."""
    learning_rate: float = Field(1e-3, gt=0)
    """Adam's learning rate for everything except ids and interests."""
    id_learning_rate: float = Field(1e-4, ge=0)
    """Adam's learning rate for ids and interests of DeCoRec in stage 2; 0 keeps their initial values."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 weight of Adam."""
    clip: float | None = Field(1.0, gt=0)
    """Largest gradient norm."""
    stale_gradients: bool = False
    """Never clear the gradients of parameters with learning rate 0, so that they accumulate in the norm that is
    clipped, as in the released code."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Decay of Adam's second moment."""
    id_momentum: bool = Field(True, exclude_if=bool)
    """Adam's first moment of ids in a training with sampled negatives, an array of the size of the ids. false: an id
    moves by the gradient of the step alone, and there is no such array. Without sampled negatives it has no effect. Not
    written if true, so that the tracked values of a run are the same as before the key existed."""
    restart: bool = True
    """Reset Adam's moments every epoch, as the released code does; better on validation items than without resets."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Number of epochs of linear warm-up."""
    averaging: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights, which is evaluated and stored; 0: none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass."""

    @model_validator(mode="after")
    def _gradients_are_of_the_rows_read(self) -> Self:
        if self.stale_gradients and self.negatives != "all":
            raise ValueError(
                f"stale_gradients: expected false with negatives, found true beside negatives {self.negatives}: a step "
                "with sampled negatives has gradients of the items that it reads alone; remove one of them"
            )
        return self


class TrainConfig(StageConfig):
    """Training: common values, and differences per stage."""

    start: str | None = Field(None, min_length=1, exclude_if=lambda start: start is None)
    """Folder of an earlier checkpoint of the same model, or of its run and seed, with whose parameters the training
    begins; rows of items go by the id. Stage 2 of DeCoRec then begins with the earlier stage 2 and needs no stage 1.
    null: from nothing."""
    devices: int = Field(1, ge=1, le=64, exclude_if=lambda devices: devices == 1)
    """Processes that train together on one machine, or on each of several (`nodes`): each has its share of the users of
    every batch and of the items, on a core or a GPU of its own. Loss and gradients of a batch are those of one process
    up to rounding; dropout is drawn by each process for itself, so another number gives other weights and trains again,
    and one number gives the same bytes every time. Refused for a model whose loss compares predictions with each other.
    Tuning, new-items and gradient-probe use one process. Not written if 1, so that the tracked values of a run are the
    same as before the key existed."""
    nodes: int = Field(1, ge=1, le=64, exclude_if=lambda nodes: nodes == 1)
    """Machines of a cluster with SLURM that train together, with as many processes as `devices` says on each: the model
    has the weights that `nodes` times `devices` processes of one machine give. Refused outside of a job of SLURM. Not
    written if 1, as `devices`."""
    tensorboard: bool = Field(False, exclude=True)
    """Write loss, validation metrics and seconds of every epoch to results/tensorboard/, for TensorBoard (package
    tensorboard), of all runs. No result depends on it, and switching it on or off trains nothing again: it is not among
    the tracked values of a run."""
    stage1: dict[str, Any] = {}
    """Differences of DeCoRec's stage 1 from the common values."""
    stage2: dict[str, Any] = {"learning_rate": 1e-4}
    """Differences of DeCoRec's stage 2 from the common values."""
    fit: dict[str, Any] = {}
    """Differences of the other models' only stage from the common values."""

    def trial(self) -> TrainConfig:
        """What every trial has in common: from nothing, in one process, and judged by NDCG@10."""
        same = {"start": None, "devices": 1, "nodes": 1, "tensorboard": False, "monitor": "NDCG@10"}
        own = {stage: {key: x for key, x in getattr(self, stage).items() if key != "monitor"} for stage in STAGES}
        return self.model_copy(update=same | own)

    def stage(self, name: str) -> StageConfig:
        """The values of ``stage1``, ``stage2`` or ``fit``."""
        common = {key: getattr(self, key) for key in StageConfig.model_fields}
        return StageConfig.model_validate(common | getattr(self, name))

    @model_validator(mode="after")
    def _stages_are_valid(self) -> TrainConfig:
        for name in STAGES:
            self.stage(name)
        return self

    @field_validator("stage2")
    @classmethod
    def _gentle(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Stage 2 continues with a trained encoder: by default, at a tenth of the usual learning rate."""
        return {"learning_rate": 1e-4, **value}

    @field_validator(*STAGES)
    @classmethod
    def _known_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(sorted(value.items()))


TunedKey = Annotated[str, Field(pattern=r"^(model|train)(\.[a-z0-9_]+)+$")]
TunedValues = Annotated[Distinct[bool | int | float | str | None], Field(min_length=1)]


class SearchSpace(RootModel[dict[TunedKey, TunedValues]]):
    """Key of a run -> values to try."""


class TuningConfig(Section):
    """Choice of values by validation NDCG@10, for every run of the main table with a search space."""

    trials: int = Field(16, ge=1)
    """Number of trials per run and data set; the first one has the run's own values. The same for every model. Those
    that fail, since training diverges or the GPU has too little memory, are among them. (This project
    takes 8 for trained models where an epoch of the slowest takes more than 5 s.)"""
    seed: int = Field(0, ge=0)
    """Seed of the values that are tried and of every training."""
    space: dict[str, dict[TunedKey, TunedValues]] = Field({}, exclude=True)
    """Run -> key (such as model.encoder.dropout or train.learning_rate) -> values that are tried, in place of those of
    its model. The run's own value is tried as well. A preset or a variant is tuned only if it is named here."""
