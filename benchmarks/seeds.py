"""What training five seeds in one step could save at most: a step of five times as many targets, beside five steps.

Stacked seeds would make one call where five trainings make five, so what they save is the cost of calls that are small.
A step with five times as many targets saves that as well, and more: its items, its optimiser and its average are there
once and not five times. So its gain is an upper bound. Processor time of one thread; the least of the steps counts.

    python -m benchmarks seeds [--sizes sample scientific] [--models sasrec decorec bert4rec] [--steps 12]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks._worlds import World, describe_machine, generated
from decorec.config.runs import Run, resolve
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer
from decorec.training.steps import prepare

__all__ = ["main"]

SEEDS = 5
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sample": ({"items": 420, "users": 1_150, "mean": 7.0}, {"dim": 64}),
    "scientific": ({"items": 1_585, "users": 2_928, "mean": 6.7}, {}),
}
"""Name -> data, and the width of the models where it is not their own."""


def main() -> None:
    """Print one line for each size, model and stage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks seeds")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--models", nargs="+", default=["sasrec", "decorec", "bert4rec"])
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine())
    for size in options.sizes:
        data, width = SIZES[size]
        world = generated(size, **data)
        for name in options.models:
            run = resolve({}, "described", {"model": {"name": name, **width}})
            for stage in run.stages:
                targets = run.train.stage(stage).batch_size
                one, five = (seconds(run, stage, world, size, options.steps) for size in (targets, SEEDS * targets))
                gain = 1 - five / (SEEDS * one)
                print(
                    f"{size}, {name} {stage}: {one * 1e3:.1f} ms with {targets} targets, {five * 1e3:.1f} ms with "
                    f"{SEEDS} times as many: {gain:.0%} less at most",
                    flush=True,
                )


def seconds(run: Run, stage: str, world: World, targets: int, steps: int) -> float:
    """Processor time of the fastest of ``steps`` whole training steps, after two that do not count."""
    config = run.train.stage(stage)
    model: Any = prepare(run, stage, 0, world.item_data, None)
    model.observe(world.sequences.training())
    samples, generator = model.samples(world.sequences, config), torch.Generator().manual_seed(0)
    adam, average = build_optimizer(model, config), ExponentialMovingAverage(model, config.averaging)
    model.before_epoch()
    times: list[float] = []
    while len(times) < steps + 2:
        whole = [batch for batch in samples.epoch(targets, generator) if len(batch.targets) >= 0.9 * targets]
        for batch in whole or samples.epoch(targets, generator):
            start = time.process_time()
            train_step(model, batch, adam, config, 1.0)
            average.update()
            times.append(time.process_time() - start)
    return min(times[2:])


if __name__ == "__main__":
    main()
