"""What several processes gain (train.devices): steps of a training in one process with one thread and with more, and in
several processes with one thread each.

All are measured in turns, because other work on the machine changes what each gets; only ratios of one run count. The
clock is what counts; the processor time tells what is computed twice, or only waited for. The efficiency of two
processes is the time of one with one thread, over twice their own: by the clock, and as it would be on free cores, by
the processor time of the one that takes longest. Memory is what the steps of one process take at most
beyond what it held before them: item data, sequences and weights.

    python -m benchmarks devices [--size scientific] [--models stage1 fit] [--steps 5] [--rounds 3] [--threads 2]
        [--processes 2]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._worlds import World, describe_machine, generated
from benchmarks.training import MODELS, SIZES
from decorec.artifacts.step_log import largest_memory
from decorec.config.runs import resolve
from decorec.training.launch import together
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer
from decorec.training.ranks import here
from decorec.training.steps import prepare

__all__ = ["main", "measure"]


def main() -> None:
    """Print seconds of a step of each set-up in each round, and the ratios of their medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks devices")
    parser.add_argument("--size", default="scientific", choices=list(SIZES))
    parser.add_argument("--models", nargs="+", default=["stage1", "fit"], choices=[stage for _, stage in MODELS])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[2], help="of one process")
    parser.add_argument("--processes", type=int, nargs="*", default=[2], help="with one thread each")
    options = parser.parse_args()
    print(describe_machine())
    world = generated(options.size, **SIZES[options.size])
    for name, stage in MODELS:
        if stage in options.models:
            report(world, name, stage, options)


def report(world: World, name: str, stage: str, options: argparse.Namespace) -> None:
    """Measure one model."""
    set_ups = [(1, 1), *((1, threads) for threads in options.threads), *((count, 1) for count in options.processes)]
    steps: dict[tuple[int, int], list[list[float]]] = {set_up: [] for set_up in set_ups}
    for _ in range(options.rounds):
        for processes, threads in set_ups:
            with tempfile.TemporaryDirectory() as folder:
                given = {
                    "name": name,
                    "stage": stage,
                    "size": options.size,
                    "steps": options.steps,
                    "out": Path(folder),
                }
                if processes == 1:
                    measure(**given, threads=threads, world=world)
                else:
                    together(measure, processes, {**given, "threads": processes * threads})
                each = [json.loads(file.read_text()) for file in sorted(Path(folder).iterdir())]
            clock, processor, memory = zip(*each, strict=True)
            steps[processes, threads].append([max(clock), sum(processor), max(processor), max(memory)])
            said = f"{name} {stage}, processes {processes}, threads {threads}"
            print(f"  {said}: {max(clock):.3f} s a step by the clock", flush=True)
    found = {set_up: [median(column) for column in zip(*rows, strict=True)] for set_up, rows in steps.items()}
    one = found[1, 1]
    for (processes, threads), (clock, processor, longest, memory) in found.items():
        print(
            f"{name} {stage}, processes {processes}, threads {threads}: {clock:.3f} s by the clock, "
            f"{processor:.3f} s of processor time, {longest:.3f} s and {memory:.0f} MB of one process; efficiency "
            f"{one[0] / clock / processes / threads:.2f} by the clock, {one[1] / longest / processes:.2f} on free cores"
        )


def measure(
    *, name: str, stage: str, size: str, steps: int, out: Path, threads: int, world: World | None = None
) -> None:
    """Take steps in this process.

    Seconds of one by the clock and of processor time, and the MB that all take, go to a file of its own.
    """
    torch.set_num_threads(threads)
    world = generated(size, **SIZES[size]) if world is None else world
    run = resolve({}, "described", {"model": {"name": name}})
    config, ranks = run.train.stage(stage), here()
    model: Any = prepare(run, stage, 0, world.item_data, None)
    adam = build_optimizer(model, config)
    samples = model.samples(world.sequences, config)
    batches = list(islice(samples.epoch(config.batch_size, torch.Generator().manual_seed(0)), steps + 1))
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory so far is that of now
    held = largest_memory(os.getpid())
    train_step(model, batches[0], adam, config, 1.0, ranks=ranks)  # libraries allocate and prepare in the first one
    clock, processor = time.perf_counter(), time.process_time()
    for batch in batches[1:]:
        train_step(model, batch, adam, config, 1.0, ranks=ranks)
    found = [(time.perf_counter() - clock) / steps, (time.process_time() - processor) / steps]
    found.append((largest_memory(os.getpid()) - held) / 1024)
    (out / f"{ranks.number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
