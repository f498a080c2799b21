"""Memory and time per target of one training step and one full ranking, for up to a million items.

Each size is a process of its own, whose largest resident memory counts, features and sequences included. The data have
ten million training targets, of which a step of 512 is trained and a few users are ranked. The model is DeCoRec's first
stage over one modality of 512 features, without a graph, and then SASRec of the same width, over ids, for a step with
sampled negatives. The fit is that of log time against log items. Of two steps the second one counts.

    python -m benchmarks million [--items 10000 100000 1000000] [--targets 10000000] [--users 64] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks._worlds import describe_machine, generated
from benchmarks.training import clock
from decorec.config.runs import Run, resolve
from decorec.data.batches import training_windows
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.models.base import Recommender
from decorec.models.registry import build
from decorec.nn.sampled_softmax import Sampler
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["main"]

WIDTH = {"dim": 256}


def main() -> None:
    """Measure all sizes and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks million")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--targets", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=64, help="users ranked")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--negatives", type=int, default=8192, help="items of the sampled loss")
    parser.add_argument("--without-whole", action="store_true", help="leave out what reads all items: large catalogues")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:
        print("RESULT", json.dumps(_measure(options)))
        return
    print(describe_machine())
    figures = [_in_a_process(items, options) for items in options.items]
    for part in [part for part in ("training", "sampled", "ids", "ranking") if part in figures[0]]:
        times = [one[part] for one in figures]
        print(f"{part}, seconds per target: " + ", ".join(f"{time:.2e}" for time in times))
        if len(times) > 1:
            slope = np.polyfit(np.log(options.items), np.log(times), 1)[0]
            print(f"  grows with the {slope:.2f}th power of the number of items")


def _in_a_process(items: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", Path(__file__).stem, "--alone", "--items", str(items)]
    for name in ("targets", "users", "threads", "negatives"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--without-whole"] if options.without_whole else []
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out.partition("RESULT ")[2])
    memory = ", ".join(f"{name} {value:.2f} GB" for name, value in found.items() if name.endswith("memory"))
    print(f"{items:,} items: most memory until {memory}", flush=True)
    return found


def _measure(options: argparse.Namespace) -> dict[str, float]:
    items, users = options.items[0], options.users
    world = generated("million", items, round(options.targets / 6.7), 9.7, ("text",), graph=False)
    described = resolve({}, "described", {"model": {**WIDTH, "modalities": ["text"], "modal_layers": 0}})
    model = build(described, world.item_data, "stage1")
    found: dict[str, float] = {"data memory": _memory()}
    sampler = Sampler(world.sequences.training().items, items, options.negatives, 0)
    if not options.without_whole:
        found["training"] = _step(model, described, world.sequences, None)
        found["training memory"] = _memory()
    found["sampled"] = _step(model, described, world.sequences, sampler)
    found["sampled memory"] = _memory()
    if not options.without_whole:
        offsets = world.sequences.offsets[: users + 1]
        some = Sequences([""] * users, offsets, world.sequences.items[: offsets[-1]])
        start = clock()
        rank_users(model, some, "test")
        found["ranking"] = (clock() - start) / users
        found["ranking memory"] = _memory()
    del model
    ids = resolve({}, "described", {"model": {**WIDTH, "name": "sasrec"}})
    found["ids"] = _step(build(ids, world.item_data, "fit"), ids, world.sequences, sampler)
    found["ids memory"] = _memory()
    return found


def _step(model: Recommender, run: Run, sequences: Sequences, sampler: Sampler | None) -> float:
    """Seconds per target of the second step: the first one makes the state of the optimizer, once per epoch."""
    config = run.train.stage(model.stage)
    model.sampler = sampler
    adam = build_optimizer(model, config)
    windows = training_windows(sequences, run.model.length)
    batches = islice(windows.epoch(config.batch_size, torch.Generator().manual_seed(0)), 2)
    seconds = 0.0
    for batch in batches:
        start = clock()
        train_step(model, batch, adam, config, 1.0)
        seconds = (clock() - start) / len(batch.targets)
    return seconds


def _memory() -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
