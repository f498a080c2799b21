"""The training loop, the same for every model and stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

from decorec.artifacts.resume import Keeper
from decorec.config.training import StageConfig
from decorec.data.batches import Batch, histories
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError, UnfitValuesError
from decorec.evaluation.at_once import TOKENS_AT_ONCE
from decorec.evaluation.full_ranking import rank_users
from decorec.evaluation.rank_metrics import parse_metric
from decorec.models.base import Recommender
from decorec.models.cold_ids import mean_ids
from decorec.nn.sampled_softmax import Sampler
from decorec.processor import emulates
from decorec.progress import track
from decorec.training.early_stopping import Best, is_better
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.optimizer import RowAdam, clip, warmup
from decorec.training.ranks import ALONE, Ranks
from decorec.training.state import TrainingState

if TYPE_CHECKING:
    from decorec.training.curves import Curves

__all__ = ["train_model", "train_step", "validate"]

MONITORED = ("Hit@10", "NDCG@10", "Hit@50", "NDCG@50")
log = logging.getLogger("decorec")


def train_model(
    model: Recommender,
    sequences: Sequences,
    config: StageConfig,
    seed: int,
    label: str = "training",
    on_epoch: Callable[[int, float], None] | None = None,
    on_gradients: Callable[[int, int, Batch], None] | None = None,
    keeper: Keeper | None = None,
    epochs: int | None = None,
    curves: Curves | None = None,
    ranks: Ranks = ALONE,
) -> pl.DataFrame:
    """Train until validation stops improving; the model ends with the weights of its best epoch, as they were ranked.

    With ``epochs``, for exactly as many and without validation; the last one counts as the best.

    Args:
        model: on the device to train on.
        sequences: the training and validation parts are used, never the test part.
        config: values of this stage.
        seed: of the order of the batches and of dropout.
        label: name of the training in the log.
        on_epoch: called after each epoch with its number and the monitored value; an exception stops the training. In a
            training that continues, it is first called for the epochs that are done.
        on_gradients: called in every step with the epoch, the number of the step and the batch, after the gradients are
            computed and before they are clipped; it must not change them.
        keeper: keeps the state of the training on disk; a training of which it has a state continues there. The
            result is the same, bit for bit.
        epochs: number of epochs to train without validation; None: ``config`` says how many at most.
        curves: where every epoch is written for TensorBoard; the result does not depend on it.
        ranks: the processes that train together; each calls this with the same arguments.

    Returns:
        One row per epoch: epoch, loss (mean over the targets of all its steps; with a horizon the k-th item ahead has
        the weight 1 / k), valid metrics (if there was a validation), best (bool).

    Raises:
        DecorecError: the model reads what the data set does not have, or the loss does not heed a value.
        UnfitValuesError: the loss of an epoch is not finite, or a score is not a number.
    """
    if model.needs_times and sequences.timestamps is None:
        raise DecorecError(
            f"{model.config.name}: expected sequences with the time stamp of every interaction, found none, as in "
            "every data set of the source atomic; leave this run out, or give the data set with its times (source "
            "table)"
        )
    torch.manual_seed(ranks.seed(seed))
    model.observe(sequences.training())
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return _untrained({} if epochs is not None else validate(model, sequences, "NDCG@10", ranks))
    samples = model.samples(sequences, config)
    if not samples.target_count:
        raise DecorecError(
            "training: expected users with two or more interactions in the training part, found none; raise "
            "filter.kcore to 4, or split.quantile"
        )
    _expect_known(model, config)
    ranks.expect_known(model, config)
    if model.item_data.device.type == "cpu" and emulates(config.precision):
        log.warning(
            "%s: train.precision is %s, which this processor has no instructions for: slower than fp32 (more than "
            "twice on a Xeon); set it to fp32, or use another machine",
            label,
            config.precision,
        )
    model.sampler = _sampler(model, sequences, config, seed)
    cold = _cold(model, sequences) if config.cold_ids == "mean" else None
    now = TrainingState(model, config, seed, ranks)
    if keeper is not None:
        keeper.restore(now)
    if on_epoch is not None:
        for row in now.history:
            on_epoch(row["epoch"], _monitored(row, config))
    if curves is not None:
        curves.begin(now.history)
    left = "left" if epochs else "left at most"
    numbers = range(max(0, now.epoch), epochs or config.epochs)
    for epoch in numbers if ranks.number else track(numbers, label, unit="epochs", left=left):
        start = time.monotonic()
        if epoch != now.epoch:
            now.begin(epoch)
        for batch in now.batches(samples):
            if keeper is not None:
                keeper.offer(now)
            look = None if on_gradients is None else partial(on_gradients, epoch, now.step)
            factor = warmup(now.step, samples, config)
            now.count(batch, train_step(model, batch, now.adam, config, factor, look, now.average, ranks))
        loss = float(now.total) / now.weight
        if not isfinite(loss):
            raise UnfitValuesError(
                f"{label}, epoch {epoch}: expected a finite loss, found {loss}; training diverged, lower "
                "train.learning_rate"
            )
        averaged = nullcontext() if now.average is None else now.average.applied()
        with averaged, nullcontext() if cold is None else mean_ids(model, cold):
            figures = {} if epochs is not None else validate(model, sequences, config.monitor, ranks)
            value = float(epoch) if epochs is not None else _monitored(figures, config)
            if is_better(value, now.best.value, config.decimals):
                now.best = Best(epoch, value, {name: tensor.clone() for name, tensor in model.own_state().items()})
        now.history.append({"epoch": epoch, "loss": loss, **figures})
        if curves is not None:
            curves.add(now.history[-1], time.monotonic() - start)
        if epochs is None:
            log.info("%s: epoch %d, loss %.4f, validation %s %.4f", label, epoch, loss, config.monitor, abs(value))
        else:
            log.info("%s: epoch %d of %d, loss %.4f", label, epoch, epochs, loss)
        if on_epoch is not None:
            on_epoch(epoch, value)
        if epoch - now.best.epoch >= config.patience and epoch + 1 >= config.least_epochs:
            break
    model.load_state_dict(now.best.weights, strict=False)
    if epochs is None:
        place = now.best.epoch, len(now.history), abs(now.best.value)
        log.info("%s: best epoch %d of %d, validation %.4f", label, *place)
    return pl.DataFrame(now.history).with_columns(best=pl.col("epoch") == now.best.epoch)


def _monitored(figures: Mapping[str, float], config: StageConfig) -> float:
    """The figure that chooses the best epoch; larger is better."""
    return -figures["valid_loss"] if config.monitor == "loss" else figures[config.monitor]


def _expect_known(model: Recommender, config: StageConfig) -> None:
    """Refuse settings that the model's loss would ignore."""
    for key, known, heeded in (
        ("negatives", "all", model.supports_sampled_softmax),
        ("horizon", 1, model.supports_horizon),
    ):
        found = getattr(config, key)
        if found != known and not heeded:
            raise DecorecError(
                f"train.{key}: expected {known}, the only value that {model.config.name} supports, found {found}; "
                "remove it from this model's run"
            )


def _sampler(model: Recommender, sequences: Sequences, config: StageConfig, seed: int) -> Sampler | None:
    if config.negatives == "all":
        return None
    return Sampler(sequences.training().items, model.item_data.item_count, config.negatives, seed)


def _cold(model: Recommender, sequences: Sequences) -> Tensor:
    """[I] bool: items without an interaction in the training part."""
    return torch.from_numpy(sequences.training().counts(model.item_data.item_count) == 0)


def _untrained(figures: Mapping[str, float]) -> pl.DataFrame:
    """The history of a model without parameters: one epoch without a loss."""
    row = {"epoch": 0, "loss": None, **figures, "best": True}
    return pl.DataFrame([row], schema_overrides={"loss": pl.Float64})


def validate(model: Recommender, sequences: Sequences, monitor: str, ranks: Ranks = ALONE) -> dict[str, float]:
    """Metrics on the validation items, and the loss there if it is monitored; the same on all ``ranks``."""
    everyone = sequences.having("valid")
    sequences = ranks.users(everyone)
    found = ranks.places(rank_users(model, sequences, "valid"), len(everyone.users))
    figures = {name: float(parse_metric(name)(found).mean()) for name in (*MONITORED, monitor) if name != "loss"}
    if monitor == "loss":
        windows = histories(sequences, "valid", model.config.length)
        with torch.no_grad():
            losses = [
                len(chosen) * float(model.validation_loss(batch.to(model.item_data.device)))
                for chosen, batch in windows.in_order(TOKENS_AT_ONCE)
            ]
        figures["valid_loss"] = ranks.total(sum(losses)) / len(everyone.users)
    return figures


def train_step(
    model: Recommender,
    batch: Batch,
    adam: RowAdam,
    config: StageConfig,
    factor: float,
    look: Callable[[Batch], None] | None = None,
    average: ExponentialMovingAverage | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """One update; returns the batch's mean loss, on the device. ``look`` is called with the batch before clipping."""
    model.train()
    for group in adam.param_groups:
        group["lr"] = group["base_lr"] * factor
    device = model.item_data.device
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss = ranks.loss(model, batch)
    for group in adam.param_groups:
        # What piles up is the sum over the ranks, and stays with the first of them to be added up with the next.
        for parameter in group["params"] if group["base_lr"] or not config.stale_gradients or ranks.number else ():
            parameter.grad = None
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    loss = ranks.whole(loss, parameters)
    if look is not None:
        look(batch.to(device))
    if config.clip is not None:
        clip(parameters, config.clip)
    if average is not None:
        average.catch_up()
    adam.step()
    if average is not None:
        average.update()
    return loss
