"""Step gradient-probe: measures in a joint training whether ids and modalities change items in the same direction.

The training is that of the step train, bit for bit; only the measurements are stored. It is a step of its own, so that
the measurements neither slow down another training nor change its measured time.

The representation of item I in modality m is a sum, A_m + U (eq. 10). The gradient of the loss is the same for both
summands, so the cosine between these two would always be 1. Two cosines that can differ are measured:

- together: the change of the representations of all items by one step of plain gradient descent on the ids only, and by
  one on the adapters only, to first order: d_part = (dE / d part) (dL / d part).
- apart: the gradients of the loss with respect to the representations of the items, if these were only U or only A.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from decorec.artifacts.files import write_table
from decorec.artifacts.resume import Keeper
from decorec.artifacts.schemas.gradients import FIRST, GRADIENTS
from decorec.config.runs import Run
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.models.base import Recommender
from decorec.models.decorec import DeCoRec
from decorec.models.inputs import ModelInputs
from decorec.training.key import training_key
from decorec.training.loop import train_model
from decorec.training.steps import prepare

__all__ = ["GradientProbe", "gradient_probe"]

STRIDE = 1e-6
"""Length of the step in a part's parameters that measures the effect to first order; computed in float64."""

log = logging.getLogger("decorec")


class GradientProbe:
    """Measures the first ``FIRST`` steps and then every ``every``-th; for ``on_gradients`` of the training loop.

    It draws no random numbers and changes neither weights nor gradients, so the training is the same without it.
    """

    def __init__(self, model: Recommender, every: int) -> None:
        if not isinstance(model, DeCoRec) or model.ids is None or model.stage != "fit":
            raise DecorecError(
                "gradient-probe: expected a run of decorec that trains ids and modalities in one stage, found "
                f"{model.stage} of {model.config.name}; give it model.phased: false and model.ids: true"
            )
        self.model, self.every = model, every
        self.rows: list[tuple[Any, ...]] = []
        self._twin = copy.deepcopy(model).double()
        self._parts = {"id": _ids(model), "modal": list(model.adapters.parameters())}
        self._twins = {"id": _ids(self._twin), "modal": list(self._twin.adapters.parameters())}

    def __call__(self, epoch: int, step: int, batch: Batch) -> None:
        """Measure this step, if it is one to measure (steps are counted from 0 over all epochs)."""
        if step >= FIRST and step % self.every:
            return
        norms = {name: _norm([p.grad for p in parameters]) for name, parameters in self._parts.items()}
        together = _cosine(*(self._pushed(name) for name in self._parts))
        self.rows.append((epoch, step, together, _cosine(*self._apart(batch)), norms["id"], norms["modal"]))

    def table(self) -> pl.DataFrame:
        """One row per measured step; a cosine is null if a gradient is zero."""
        return pl.DataFrame(self.rows, schema=GRADIENTS, orient="row")

    @torch.no_grad()
    def _pushed(self, name: str) -> Tensor:
        """Change of the representations of all items, [M, I, D], per unit of a step along the gradient of a part."""
        for part, parameters in self._parts.items():
            for twin, parameter in zip(self._twins[part], parameters, strict=True):
                twin.copy_(parameter)
        before = self._twin.item_representations()
        length = _norm([p.grad for p in self._parts[name]])
        if not length:
            return torch.zeros_like(before)
        for twin, parameter in zip(self._twins[name], self._parts[name], strict=True):
            if parameter.grad is not None:
                twin.add_(parameter.grad.double(), alpha=STRIDE / length)
        return (self._twin.item_representations() - before) * (length / STRIDE)

    def _apart(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Gradients of the loss at items that are ids only, and at items that are modalities only, [M, I, D] each.

        Computed without dropout, so that both parts have equal conditions and no random numbers are drawn.
        """
        self.model.eval()
        with torch.no_grad():
            modal = self.model.modal()
            parts = self.model.item_representations() - modal, modal
        gradients = []
        for part in parts:
            items = part.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.model.loss_over(items, batch), items)
            gradients.append(gradient.double())
        self.model.train()
        return gradients[0], gradients[1]


def _ids(model: DeCoRec) -> list[nn.Parameter]:
    """Parameters that do not belong to the modalities: ids, the gates of their enrichment, interests."""
    modules = (model.ids, model.enrich_ids, model.interests)
    return [parameter for module in modules if module is not None for parameter in module.parameters()]


def _norm(tensors: list[Tensor | None]) -> float:
    squares = [tensor.double().square().sum() for tensor in tensors if tensor is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _cosine(one: Tensor, two: Tensor) -> float | None:
    product = float(one.norm() * two.norm())
    return float((one * two).sum()) / product if product else None


def gradient_probe(
    *,
    run: Run,
    seed: int,
    vocab: Path,
    sequences: Path,
    features: list[Path],
    interests: list[Path],
    cooccurrence: Path | None = None,
    every: int,
    code: str,
    state: Path,
    gradients: Path,
    threads: int = 1,
) -> None:
    """Train a run as the step train does, and measure the gradients of ids and modalities (figure 3 of the paper).

    The first 50 steps are measured, then every EVERY-th one. The model is not stored. A step that was killed continues
    as the step train does, with what it has measured.

    Args:
        run: all values of the run, which must train ids and modalities in one stage (model.phased: false).
        seed: of the initial parameters, of the order of the batches and of dropout.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read); the test items are not used.
        features: MODALITY.safetensors (read) of each modality that the model needs.
        interests: MODALITY.safetensors (read) of each modality that the model needs.
        cooccurrence: cooccurrence.npz (read), if the model needs it.
        every: distance between measured steps after the first 50.
        code: fingerprint of the code; a state that other code has kept is not used.
        state: the state of the training (read and written, removed at the end), kept between runs of the step.
        gradients: gradients.parquet (written), one row per measured step: epoch, step (from 0), cosine (of the changes
            by a step on the ids and by a step on the adapters), cosine_apart (of the gradients at items that are only
            ids and only modalities), id_norm, modal_norm (norms of the gradients of both parts, before clipping).
        threads: number of threads of torch.

    Raises:
        DecorecError: the run does not train ids and modalities in one stage, or an input is missing or does not fit.
    """
    torch.set_num_threads(threads)
    items, data = read_vocab(vocab), Sequences.read(sequences)
    item_data = ModelInputs.of(features, interests, cooccurrence).item_data(run, "fit", items)
    model = prepare(run, "fit", seed, item_data, None)
    observer = GradientProbe(model, every)
    label = f"{run.model.name} gradient-probe seed {seed}"
    read = [vocab, sequences, *features, *interests, cooccurrence]
    key = training_key(run.dump(), every, seed, code, files=read)
    with Keeper(state, key, observer.rows) as keeper:
        train_model(model, data, run.train.stage("fit"), seed, label, on_gradients=observer, keeper=keeper)
    write_table(gradients, observer.table())
    keeper.remove()
    log.info("%s: %d steps measured", gradients, len(observer.rows))
