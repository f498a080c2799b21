"""The interface of a model for the training loop, the evaluation and the checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn

from decorec import gpus
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, Samples, training_windows
from decorec.data.sequences import Sequences
from decorec.models.item_data import ItemData
from decorec.nn.losses import SampledNegatives
from decorec.nn.sampled_softmax import Sampler

__all__ = ["Experts", "Recommender"]


class Experts(nn.Module, ABC):
    """What is multiplied with a model's shares of the items when items are ranked."""

    needs_times = False
    """Whether an expert reads the time stamps of the interactions."""

    @abstractmethod
    def observe(self, training: Sequences, items: int, length: int) -> None:
        """Count what the experts know, into buffers."""

    @abstractmethod
    def forward(self, logs: Tensor, batch: Batch) -> dict[History, Tensor]:
        """Logarithms of the product, up to a constant per prediction, [P, I] each; ``logs`` may be overwritten.

        Args:
            logs: [P, I] logarithms of the model's shares.
            batch: one prediction per sequence, after its last item.
        """


class Recommender(nn.Module, ABC):
    """A model that scores all items after a sequence.

    Shapes: M modalities (1 for models over ids), I items, N some of them, D width, P predictions of a batch.

    What changes during training is in parameters and persistent buffers, and random numbers come from torch's global
    generators: a training that was killed continues from these.
    """

    supports_sampled_softmax = False
    """Whether the loss can use sampled negatives."""
    supports_horizon = False
    """Whether the loss accepts several targets per prediction."""
    reads_content_alone = False
    """Whether an item's score depends on its features alone, so that a new item is to the model like any other."""

    def __init__(self, config: Any, item_data: ItemData, stage: str) -> None:
        super().__init__()
        self.sampler: Sampler | None = None
        self.experts: Experts | None = None
        self.config = config
        self.item_data = item_data
        self.stage = stage

    @property
    def needs_times(self) -> bool:
        """Whether the model or an expert reads the time stamps of the interactions."""
        return bool(self.config.needs_times) or (self.experts is not None and self.experts.needs_times)

    @abstractmethod
    def item_representations(self) -> Tensor:
        """Representations of all items, [M, I, D]; the same for every batch until the next step."""

    def representations_of(self, items: Tensor) -> Tensor:
        """The same of some items [N] alone, [M, N, D], for a step that reads no others.

        A model whose loss can use sampled negatives computes no more than it needs here, and its tables have sparse
        gradients (``table_rows``).
        """
        return self.item_representations().index_select(1, items)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Mean loss over the batch's predictions."""

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same for a batch of histories: one prediction per sequence, after its last item, as ``scores`` makes."""
        return self.loss(batch)

    @abstractmethod
    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Scores of all items at the batch's predictions, [P, I]."""

    def log_shares(self, scores: Tensor) -> Tensor:
        """Logarithms of what the model gives each item of one, [P, I], from its ``scores``, which may be overwritten.

        By default scores are the logits of the loss.
        """
        return torch.log_softmax(scores, 1)

    def ranking(self, batch: Batch, representations: Tensor) -> dict[History, Tensor]:
        """What items are ranked by where the history is kept and where it is masked, [P, I] each.

        These are the scores, or with experts the product of all.
        """
        scores = self.scores(batch, representations)
        if self.experts is None:
            return dict.fromkeys(HISTORIES, scores)
        product: dict[History, Tensor] = self.experts(self.log_shares(scores), batch)
        return product

    def why_not_shared(self, train: StageConfig) -> str | None:
        """Why several processes cannot share a batch, as words after "the only value that it supports"; None: they can.

        They can if the loss of a batch is the mean of those of its predictions, weighted as ``Batch.weight`` says, plus
        what depends on no batch: then it is the weighted mean of the losses of any two parts of the batch.
        """
        return None

    def sampled_negatives(self) -> SampledNegatives | None:
        """Negatives for the next training loss; None: all items."""
        return self.sampler.draw(self.item_data.device) if self.sampler is not None and self.training else None

    def start_from(self, previous: dict[str, Tensor]) -> None:
        """Load the state of the stage before; only models with several stages can.

        Raises:
            ValueError: the states do not fit together.
        """
        raise ValueError(f"{self.config.name} has one stage, it cannot start from another one")

    def observe(self, training: Sequences) -> None:
        """Before training: count what the model and its experts need from the training part, into buffers."""
        if self.experts is not None:
            self.experts.observe(training, self.item_data.item_count, self.config.length)

    def samples(self, sequences: Sequences, train: StageConfig) -> Samples:
        """The model's training samples, made from the training part of ``sequences``."""
        return training_windows(sequences, self.config.length, train.samples, train.horizon)

    def id_tables(self) -> list[Tensor]:
        """Parameters whose first I rows belong to one item each and know nothing of its content. By default none."""
        return []

    def counterparts(self, earlier: Recommender, items: Tensor) -> dict[str, tuple[int, Tensor]]:
        """Where the rows of this model's tables stand in an ``earlier`` model of other items.

        Args:
            earlier: the same model, trained before.
            items: [I] position of each item among those of ``earlier``, -1 for an item that is new.

        Returns:
            Name of a parameter -> (axis, [rows] position there of each row along that axis, -1 for none). A parameter
            that is not named is of the same shape in both.
        """
        tables = {id(table) for table in self.id_tables()}
        found: dict[str, tuple[int, Tensor]] = {}
        for name, parameter in self.named_parameters():
            if id(parameter) in tables:  # rows after those of the items, such as that of a mask, stay behind them
                after = earlier.item_data.item_count + torch.arange(len(parameter) - len(items))
                found[name] = 0, torch.cat([items, after])
        return found

    def before_epoch(self) -> None:
        """Work to repeat before every epoch of training, without gradient."""

    def to_device(self) -> Self:
        """Move to the GPU of this process, if torch can use one."""
        return self.to(gpus.device())

    def own_state(self) -> dict[str, Tensor]:
        """Weights and buffers, without the item data: the model's own part of a checkpoint."""
        return {name: tensor for name, tensor in self.state_dict().items() if "item_data" not in name.split(".")}

    def parameter_groups(self, train: StageConfig) -> list[dict[str, Any]]:
        """Optimizer groups; together they must contain every trainable parameter exactly once."""
        return [{"params": list(self.parameters()), "lr": train.learning_rate}]
