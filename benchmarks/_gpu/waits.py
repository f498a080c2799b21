"""How often the processor waits for the device."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from benchmarks._gpu.models import batches_of, built, small_world, stepper, trainings
from benchmarks._gpu.sizes import Found, Sizes
from decorec.data.batches import Batch

__all__ = ["waits"]

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls during which the processor does nothing but wait for the GPU."""
STEP = "training step"


def waits(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """How often the processor waits for the device in a training step of every model; without a GPU, null."""
    world, count = small_world(sizes), 5
    found: Found = {"steps": count, "models": {}}
    for label, run, stage in trainings(sizes):
        model = built(run, world, stage, device)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            continue
        step, batches = stepper(run, stage, model), batches_of(run, stage, model, world, sizes.targets)
        for batch in islice(batches, 2):  # what is made once
            step(batch)
        row: Found = {"per_step": None, "calls": None, "to_host": None, "places": None}
        if device.type == "cuda":
            measured = list(islice(batches, count))
            row |= _profiled(step, measured) | {"places": _places(step, measured)}
        found["models"][label] = row
    if device.type != "cuda":
        found["null"] = "there is no GPU to wait for"
    return found


def _profiled(step: Callable[[Batch], None], batches: list[Batch]) -> Found:
    """Calls of CUDA that wait, and copies to the host, within the steps."""
    from torch.profiler import ProfilerActivity, profile, record_function

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for batch in batches:
            with record_function(STEP):
                step(batch)
        torch.cuda.synchronize()
    events = list(profiler.events() or ())
    steps = [event.time_range for event in events if event.name == STEP and event.device_type.name == "CPU"]
    if not any(event.name.startswith("cudaLaunchKernel") for event in events):
        return {"null": "the profiler saw no call of CUDA"}
    calls = Counter(
        event.name
        for event in events
        if event.name in WAITS and any(one.start <= event.time_range.start <= one.end for one in steps)
    )
    to_host = sum(event.name.startswith("Memcpy DtoH") for event in events)
    return {"per_step": sum(calls.values()) / len(batches), "calls": dict(calls), "to_host": to_host / len(batches)}


def _places(step: Callable[[Batch], None], batches: list[Batch]) -> dict[str, int]:
    """Where torch says that it waits, and how often: what is in the backward pass is at the line that starts it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for batch in batches:
                step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waiting = [one for one in said if "synchronizing CUDA operation" in str(one.message)]
    return dict(Counter(f"{'/'.join(Path(one.filename).parts[-3:])}:{one.lineno}" for one in waiting))
