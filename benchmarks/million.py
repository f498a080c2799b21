"""Memory and time per target of one training step and one full ranking, for up to a million items.

Each size is a process of its own, whose largest resident memory counts, features and sequences included. The model is
DeCoRec's first stage over one modality of 512 features, without a graph; the data have ten million training targets,
of which a step of 512 is trained and a few users are ranked. The fit is that of log time against log items.

    python -m benchmarks million [--items 10000 100000 1000000] [--targets 10000000] [--users 64] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks._worlds import describe_machine, generated
from benchmarks.training import clock
from decorec.config.runs import resolve
from decorec.data.batches import training_windows
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.models.registry import build
from decorec.nn.sampled_softmax import Sampler
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["main"]


def main() -> None:
    """Measure all sizes and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks million")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--targets", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=64, help="users ranked")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--negatives", type=int, default=8192, help="items of the sampled loss")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:
        print("RESULT", json.dumps(_measure(options.items[0], options.targets, options.users, options.negatives)))
        return
    print(describe_machine())
    figures = [_in_a_process(items, options) for items in options.items]
    for part in ("training", "sampled", "ranking"):
        times = [one[part] for one in figures]
        print(f"{part}, seconds per target: " + ", ".join(f"{time:.2e}" for time in times))
        if len(times) > 1:
            slope = np.polyfit(np.log(options.items), np.log(times), 1)[0]
            print(f"  grows with the {slope:.2f}th power of the number of items")


def _in_a_process(items: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", Path(__file__).stem, "--alone", "--items", str(items)]
    for name in ("targets", "users", "threads", "negatives"):
        command += [f"--{name}", str(getattr(options, name))]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out.partition("RESULT ")[2])
    memory = ", ".join(f"{part} {found[f'{part} memory']:.2f} GB" for part in ("data", "training", "ranking"))
    print(f"{items:,} items, {found['targets']:,.0f} targets: most memory until {memory}", flush=True)
    return found


def _measure(items: int, targets: int, users: int, negatives: int) -> dict[str, float]:
    world = generated("million", items, round(targets / 6.7), 9.7, ("text",), graph=False)
    options = {"modalities": ["text"], "modal_layers": 0, "ids": False, "interests": False}
    run = resolve({}, "described", {"model": options})
    config = run.train.stage("stage1")
    model = build(run, world.item_data, "stage1")
    windows = training_windows(world.sequences, run.model.length)
    found: dict[str, float] = {"targets": windows.target_count, "data memory": _memory()}
    adam = build_optimizer(model, config)
    batch = next(windows.epoch(config.batch_size, torch.Generator().manual_seed(0)))
    for name, sampler in (
        ("training", None),
        ("sampled", Sampler(world.sequences.training().items, items, negatives, 0)),
    ):
        model.sampler = sampler
        start = clock()
        train_step(model, batch, adam, config, 1.0)
        found[name] = (clock() - start) / len(batch.targets)
        found[f"{name} memory"] = _memory()
    offsets = world.sequences.offsets[: users + 1]
    some = Sequences([""] * users, offsets, world.sequences.items[: offsets[-1]])
    start = clock()
    rank_users(model, some, "test")
    found["ranking"] = (clock() - start) / users
    found["ranking memory"] = _memory()
    return found


def _memory() -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
