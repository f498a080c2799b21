"""How fast training is."""

from __future__ import annotations

import time
from itertools import islice

import torch

from benchmarks._gpu.models import batches_of, built, stepper
from benchmarks._gpu.sizes import Found, Sizes
from benchmarks._gpu.timing import finish, peak_rate
from benchmarks._worlds import generated
from benchmarks.training import MODELS, operations
from decorec.config.runs import resolve
from decorec.data.batches import Batch

__all__ = ["training"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def training(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Steps of an epoch, one after the other, as share of the peak of dense products of the same type."""
    world = generated("timed", **sizes.world)
    peaks = {precision: peak_rate(device, dtype, sizes.products) for precision, dtype in DTYPES.items()}
    found: Found = {"peak_flops": peaks, "users": sizes.world["users"], "items": sizes.world["items"], "models": {}}
    end, left = time.monotonic() + 0.8 * seconds, len(MODELS) * len(DTYPES)
    for precision in DTYPES:
        for name, stage in MODELS:
            section = {"name": name, **sizes.width}
            run = resolve({}, "described", {"model": section, "train": {"precision": precision}})
            model, until = built(run, world, stage, device), time.monotonic() + (end - time.monotonic()) / left
            config, left = run.train.stage(stage), left - 1
            targets = model.samples(world.sequences, config).target_count
            step, batches = stepper(run, stage, model), batches_of(run, stage, model, world, config.batch_size)
            for batch in islice(batches, 3):
                step(batch)
            finish(device)
            done: list[Batch] = []
            start = time.perf_counter()
            most = min(sizes.steps, -(-targets // config.batch_size))
            while len(done) < most and (not done or time.monotonic() < until):
                done.append(next(batches))
                step(done[-1])
            finish(device)
            each = (time.perf_counter() - start) / len(done)
            work = sum(sum(operations(model, world, batch).values()) for batch in done) / len(done)
            found["models"][f"{name} {stage} {precision}"] = {
                "steps": len(done),
                "seconds_per_step": each,
                "seconds_per_epoch": each * targets / config.batch_size,
                "share_of_peak": work / each / peaks[precision],
            }
    return found
