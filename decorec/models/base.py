"""What the training loop, the evaluation and the checkpoints need of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from decorec.batches import Batch
from decorec.config.learning import StageConfig
from decorec.losses import Sample
from decorec.models.catalogue import Catalogue
from decorec.sampling import Sampler

__all__ = ["Recommender"]


class Recommender(nn.Module, ABC):
    """A model that scores all items after a sequence.

    Shapes: M modalities (1 for models over ids), I items, D width, P predictions of a batch.
    """

    samples_candidates = False
    """Whether the loss heeds ``sampler``."""

    def __init__(self, config: Any, catalogue: Catalogue, stage: str) -> None:
        super().__init__()
        self.sampler: Sampler | None = None
        self.config = config
        self.catalogue = catalogue
        self.stage = stage

    @abstractmethod
    def candidates(self) -> Tensor:
        """Representations of all items, [M, I, D]; the same for every batch until the next step."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Mean loss over the batch's predictions."""

    @abstractmethod
    def scores(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Scores of all items at the batch's predictions, [P, I]."""

    def sample(self) -> Sample | None:
        """Candidates of the next training loss; None for all."""
        return self.sampler.draw(self.catalogue.device) if self.sampler is not None and self.training else None

    def parameter_groups(self, train: StageConfig) -> list[dict[str, Any]]:
        """Optimiser groups; together they have to hold every trainable parameter exactly once."""
        return [{"params": list(self.parameters()), "lr": train.learning_rate}]
