"""What an epoch of a training costs: measured on the data themselves, each training in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from decorec.artifacts.step_log import largest_memory
from decorec.config.runs import Run
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.models.inputs import ModelInputs
from decorec.training.loop import train_model
from decorec.training.steps import prepare

__all__ = ["EpochCost", "Training", "costs_of_epochs"]

LONG = 30.0
"""Seconds of a first epoch from which on it is the measured one; a shorter one is followed by a second, because
libraries compile and allocate in the first."""


@dataclass(frozen=True)
class Training:
    """One stage of a run, with the files that the step train takes for it."""

    run: Run
    stage: str
    vocab: Path
    sequences: Path
    features: list[Path] = field(default_factory=list)
    interests: list[Path] = field(default_factory=list)
    cooccurrence: Path | None = None


@dataclass(frozen=True)
class EpochCost:
    """Processor seconds of what comes before the first epoch, and of an epoch with validation; largest memory in MB.

    Where the training runs on a GPU, the seconds are those of the clock. A floor has no epochs: one is all that it
    computes.
    """

    start: float
    epoch: float
    memory: float


class _EnoughError(Exception):
    """Ends a training whose epoch is measured."""


def costs_of_epochs(trainings: Iterable[Training], threads: int = 1) -> Iterator[EpochCost]:
    """The cost of each training, one after the other; nothing is written, and test items are not looked at.

    A stage that continues from the one before starts from untrained weights, which take as long.

    Raises:
        DecorecError: an input cannot be read or does not fit, or a process was killed, as where memory is short.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for training in trainings:
            try:
                yield pool.submit(_measure, training, threads).result()
            except BrokenProcessPool as error:
                raise DecorecError(
                    f"{training.run.model.name}, {training.stage}: expected an epoch to end, found its process killed; "
                    "give it more memory, or leave this run out"
                ) from error


def _measure(training: Training, threads: int) -> EpochCost:
    import torch

    torch.set_num_threads(threads)
    run, stage = training.run, training.stage
    items, data = read_vocab(training.vocab), Sequences.read(training.sequences)
    inputs = ModelInputs.of(training.features, training.interests, training.cooccurrence)
    before = None
    for earlier in run.stages[: run.stages.index(stage)]:
        before = prepare(run, earlier, 0, inputs.item_data(run, earlier, items), before).state_dict()
    model = prepare(run, stage, 0, inputs.item_data(run, stage, items), before)
    now = time.perf_counter if model.item_data.device.type == "cuda" else time.process_time
    ends = [now()]

    def note(epoch: int, value: float) -> None:
        ends.append(now())
        if ends[-1] - ends[-2] > LONG:
            raise _EnoughError

    with suppress(_EnoughError):
        config = run.train.stage(stage).model_copy(update={"epochs": 2, "patience": 2})
        train_model(model, data, config, 0, f"{run.model.name} {stage}, measured", on_epoch=note)
    if len(ends) == 1:  # a floor
        ends.append(now())
    epoch = ends[-1] - ends[-2]
    memory = largest_memory(os.getpid()) / 1024
    return EpochCost(max(0.0, ends[1] - ends[0] - epoch), epoch, memory)
