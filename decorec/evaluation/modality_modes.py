"""Step modality-modes: evaluates a trained model again, with parts of its scores.

A mode is a way of scoring, not of training: all modes use the same checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from decorec.artifacts.files import write_table
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import candidates, rank_by_history
from decorec.evaluation.ranks_table import ranks_table
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.decorec import DeCoRec

__all__ = ["Mode", "modality_modes", "modes_of"]

log = logging.getLogger("decorec")


class Mode(Recommender):
    """A trained model that scores with some of its modalities, each separately.

    A modality's state is only compared with representations in the same modality, as if the model had no other. The
    scores of several modalities are added ("intra"), without those between different modalities.
    """

    def __init__(self, model: Recommender, chosen: Sequence[int]) -> None:
        super().__init__(model.config, model.item_data, model.stage)
        self.model, self.chosen, self.experts = model, tuple(chosen), model.experts

    def item_representations(self) -> Tensor:
        """[M, I, D] of the whole model."""
        return self.model.item_representations()

    def loss(self, batch: Batch) -> Tensor:
        """A mode is not trained."""
        raise TypeError("a mode of a trained model has nothing to train")

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        """Sum over the chosen modalities, [P, I]."""
        parts = [self.model.scores(batch, representations[one : one + 1]) for one in self.chosen]
        return torch.stack(parts).sum(0)

    def log_shares(self, scores: Tensor) -> Tensor:
        """As in the whole model."""
        return self.model.log_shares(scores)


def modes_of(model: Recommender) -> Mapping[str, Recommender]:
    """Mode -> the model that scores in it; a model with one modality only has the mode of that modality.

    A model that does not retrieve across modalities has no mode cross: its full score is intra.

    Raises:
        DecorecError: the model does not score by modalities.
    """
    if not isinstance(model, DeCoRec):
        raise DecorecError(
            f"modality-modes: expected a run of decorec, found {model.config.name}; remove it from tables.retrieval"
        )
    names = list(model.adapters)
    single: dict[str, Recommender] = {name: Mode(model, [index]) for index, name in enumerate(names)}
    if len(names) == 1:
        return single
    whole = {"intra": Mode(model, range(len(names))), "cross": model} if model.config.cross else {"intra": model}
    return {name: single[name] for name in sorted(names)} | whole


def modality_modes(
    *,
    vocab: Path,
    sequences: Path,
    model: Path,
    config: Path,
    modes: Path,
    threads: int = 1,
) -> None:
    """Rank every user's test item in every mode: image and text alone, intra (their sum), cross (the full model).

    Args:
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        model: model.safetensors of the last stage of a run of decorec (read).
        config: its config.json (read).
        modes: modes.parquet (written), one row per mode and user: mode, user, target (item index), higher, equal,
            higher_masked, equal_masked; in mode cross as in the file of the step evaluate. A run with model.cross:
            false has no mode cross; its intra is as in that file.
        threads: number of threads of torch.

    Raises:
        DecorecError: a file is missing or damaged, the model has other items than the vocabulary, it does not score by
            modalities, or the ranks cannot be those of one target per user among its candidates.
    """
    torch.set_num_threads(threads)
    trained = checkpoint.load_for(vocab, model, config)
    data = Sequences.read(sequences).having("test")
    trained.model.to_device()
    among = candidates(data, "test", len(trained.items))
    frames = []
    for mode, scorer in modes_of(trained.model).items():
        found = rank_by_history(scorer, data, "test")
        frames.append(ranks_table(modes, data, "test", found, among).select(pl.lit(mode).alias("mode"), pl.all()))
    write_table(modes, pl.concat(frames))
    log.info("modes: %d of %s seed %d", len(frames), trained.run.model.name, trained.seed)
