"""Models, data and steps that several parts measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from benchmarks._gpu.sizes import Found, Sizes
from benchmarks._worlds import World, generated
from decorec.config.runs import Run, resolve
from decorec.data.batches import Batch
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.registry import MODELS, build
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["batches_of", "built", "item_data", "small_world", "stepper", "trainings"]

FLOORS = ("popularity", "item-knn", "content-knn", "hybrid-knn", "ease", "content-ease", "vstan")
"""Models without a width."""


def small_world(sizes: Sizes) -> World:
    world = generated("made", sizes.items, sizes.items, 7.0)
    hours = np.random.default_rng(0).integers(0, 200, len(world.sequences.items))
    times = 1_500_000_000 + 3600 * np.cumsum(hours)  # one user after the other, so that each one's ascend
    return replace(world, sequences=replace(world.sequences, timestamps=times))


def trainings(sizes: Sizes) -> Iterator[tuple[str, Run, str]]:
    """Every stage of every model, and a product of experts."""
    sections: dict[str, Found] = {name: {"model": {"name": name, **sizes.width}} for name in MODELS}
    for name in FLOORS:
        sections[name] = {"model": {"name": name}}
    floor = {"name": "content-ease", "ridge": 100, "weight": 0.5}
    experts = {"floor": floor, "weight": 0.3, "neighbourhood": 0.3, "repeats": "counted"}
    sections["sasrec with experts"] = {"model": sections["sasrec"]["model"], "experts": experts}
    for label, section in sections.items():
        run = resolve({}, "described", section)
        for stage in run.stages:
            yield f"{label} {stage}", run, stage


def item_data(world: World) -> ItemData:
    """A copy, because a module takes its buffers along to its device."""
    return ItemData(world.item_data.item_count, world.item_data.tensors())


def built(run: Run, world: World, stage: str, device: torch.device) -> Recommender:
    torch.manual_seed(0)
    model = build(run, item_data(world), stage).to(device)
    model.observe(world.sequences.training())
    return model


def batches_of(run: Run, stage: str, model: Recommender, world: World, size: int) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    samples, generator = model.samples(world.sequences, run.train.stage(stage)), torch.Generator().manual_seed(0)
    while True:
        yield from samples.epoch(size, generator)


def stepper(run: Run, stage: str, model: Recommender) -> Callable[[Batch], None]:
    """A training step as the loop makes it, with the average of the weights."""
    config = run.train.stage(stage)
    adam, average = build_optimizer(model, config), ExponentialMovingAverage(model, config.averaging)
    model.before_epoch()

    def step(batch: Batch) -> None:
        train_step(model, batch, adam, config, 1.0)
        average.update()

    return step
