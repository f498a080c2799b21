"""Memory and time per target of one training step and one full ranking, for up to a million items.

Each size is a process of its own, whose largest resident memory counts, features and sequences included. The data have
ten million training targets, of which a step of 512 is trained and a few users are ranked. The model is DeCoRec's first
stage over one modality of 512 features, without a graph, and then SASRec of the same width, over ids, for a step with
sampled negatives. The fit is that of log time against log items. Of two steps the second one counts.

With --disk, one model that has everything: DeCoRec in one stage with ids, text and picture, without a graph. Its
features lie on the disk in float16, and it ranks in tiles. Memory is then what is no page of a file (the largest
RssAnon of the process), and the mean of the steps after the first counts. The folder needs 4 bytes an item for every
value of a row.

    python -m benchmarks million [--items 10000 100000 1000000] [--targets 10000000] [--users 64] [--threads 1]
    python -m benchmarks million --disk FOLDER [--items 100000 1000000 10000000] [--dim 256] [--width 224]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks._worlds import describe_machine, generated
from benchmarks.training import clock
from decorec.artifacts.step_log import largest_memory
from decorec.config.runs import Run, resolve
from decorec.data.batches import training_windows
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData, MappedRows
from decorec.models.registry import build
from decorec.nn.sampled_softmax import Sampler
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["main"]

WIDTH = {"dim": 256}
MODALITIES = ("text", "image")


def main() -> None:
    """Measure all sizes and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks million")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--targets", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=64, help="users ranked")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--negatives", type=int, default=8192, help="items of the sampled loss")
    parser.add_argument("--without-whole", action="store_true", help="leave out what reads all items: large catalogues")
    parser.add_argument("--disk", type=Path, help="folder for features on the disk, which are deleted at the end")
    parser.add_argument("--dim", type=int, default=256, help="width of the model with features on the disk")
    parser.add_argument("--width", type=int, default=224, help="values of a row of these features")
    parser.add_argument("--steps", type=int, default=6, help="steps of this model")
    parser.add_argument("--momentum", action="store_true", help="give its ids a first moment")
    parser.add_argument("--parts", nargs="+", choices=("step", "rank"), default=["step", "rank"])
    parser.add_argument("--alone", choices=("memory", "step", "rank"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:
        measures = {"memory": _measure, "step": _step_on_disk, "rank": _rank_on_disk}
        print("RESULT", json.dumps(measures[options.alone](options)))
        return
    print(describe_machine(), flush=True)
    if options.disk:
        figures = [_on_disk(items, options) for items in options.items]
    else:
        figures = [_in_a_process(items, options, "memory") for items in options.items]
    for part in [part for part in ("training", "sampled", "ids", "ranking") if part in figures[0]]:
        times = [one[part] for one in figures]
        print(f"{part}, seconds per target: " + ", ".join(f"{time:.2e}" for time in times))
        if len(times) > 1:
            slope = np.polyfit(np.log(options.items), np.log(times), 1)[0]
            print(f"  grows with the {slope:.2f}th power of the number of items")


def _on_disk(items: int, options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        for name in MODALITIES:
            _write_features(Path(folder) / name, items, options.width)
        return {
            name: value
            for part in options.parts
            for name, value in _in_a_process(items, options, part, "--disk", folder).items()
        }


def _write_features(path: Path, items: int, width: int) -> None:
    """Rows in float16; they repeat, since drawing them all takes longer than all that is measured."""
    block = np.random.default_rng(len(path.name)).normal(0, 0.4, (1 << 16, width)).astype(np.float16)
    with path.open("wb") as file:
        for begin in range(0, items, len(block)):
            file.write(block[: items - begin].data)


def _in_a_process(items: int, options: argparse.Namespace, part: str, *more: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", Path(__file__).stem, "--alone", part, "--items", str(items), *more]
    for name in ("targets", "users", "threads", "negatives", "dim", "width", "steps"):
        command += [f"--{name}", str(getattr(options, name))]
    for name in ("without_whole", "momentum"):
        command += [f"--{name.replace('_', '-')}"] * getattr(options, name)
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out.partition("RESULT ")[2])
    memory = ", ".join(f"{name} {value:.2f} GB" for name, value in found.items() if name.endswith("memory"))
    times = ", ".join(f"{name} {value:.2e}" for name, value in found.items() if not name.endswith("memory"))
    print(f"{items:,} items: most memory until {memory}; seconds per target: {times}", flush=True)
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


def _model_on_disk(options: argparse.Namespace) -> tuple[Recommender, Run, Sequences]:
    items = options.items[0]
    world = generated("million", items, round(options.targets / 6.7), 9.7, (), graph=False)
    model = {"dim": options.dim, "phased": False, "interests": False, "modal_layers": 0, "id_layers": 0}
    train = {"negatives": options.negatives, "averaging": 0.0, "id_momentum": options.momentum}
    run = resolve({}, "described", {"model": model, "train": train})
    order = torch.from_numpy(np.random.default_rng(1).permutation(items))  # no file is in the order of the vocabulary
    mapped = {}
    for name in MODALITIES:
        x = np.memmap(options.disk / name, np.float16, "c", shape=(items, options.width))
        mapped[f"features.{name}"] = MappedRows(torch.from_numpy(x), order, options.disk / name, "")
    present = {f"present.{name}": torch.ones(items, dtype=torch.bool) for name in MODALITIES}
    with _quick_start():
        return build(run, ItemData(items, present, mapped), "fit"), run, world.sequences


@contextmanager
def _quick_start() -> Iterator[None]:
    """While it is open, all ids begin with the same value: to draw them takes longer than all that is measured."""
    drawn = torch.nn.init.normal_

    def filled(tensor: Tensor, *given: Any, **named: Any) -> Tensor:
        if len(tensor) < 10_000:
            return drawn(tensor, *given, **named)
        return tensor.detach().fill_(named["std"]) if named else tensor  # what torch itself draws is drawn again

    with patch.object(torch.nn.init, "normal_", filled):
        yield


def _step_on_disk(options: argparse.Namespace) -> dict[str, float]:
    with _anonymous_memory() as memory:
        model, run, sequences = _model_on_disk(options)
        sampler = Sampler(sequences.training().items, options.items[0], options.negatives, 0)
        memory.clear()
        seconds = _step(model, run, sequences, sampler, options.steps)
    return {"sampled": seconds, "steps memory": max(memory), "with pages of files memory": _memory()}


def _rank_on_disk(options: argparse.Namespace) -> dict[str, float]:
    with _anonymous_memory() as memory:
        model, _, sequences = _model_on_disk(options)
        offsets = sequences.offsets[: options.users + 1]
        some = Sequences([""] * options.users, offsets, sequences.items[: offsets[-1]])
        memory.clear()
        start, begin = clock(), time.monotonic()
        rank_users(model, some, "test")
        spent = clock() - start
    print(f"ranking: {time.monotonic() - begin:.0f} s by the clock, {spent:.0f} s of the processor", file=sys.stderr)
    return {"ranking": spent / options.users, "ranking memory": max(memory)}


@contextmanager
def _anonymous_memory() -> Iterator[list[float]]:
    """While it is open, collects how much of the resident memory is no page of a file, GB."""
    found: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            status = Path("/proc/self/status").read_text()
            found.append(int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e9)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _step(model: Recommender, run: Run, sequences: Sequences, sampler: Sampler | None, steps: int = 2) -> float:
    """Seconds per target of the steps after the first one, which makes the state of the optimizer, once per epoch."""
    config = run.train.stage(model.stage)
    model.sampler = sampler
    adam = build_optimizer(model, config)
    windows = training_windows(sequences, run.model.length)
    batches = islice(windows.epoch(config.batch_size, torch.Generator().manual_seed(0)), steps)
    seconds = []
    for batch in batches:
        start = clock()
        train_step(model, batch, adam, config, 1.0)
        seconds.append((clock() - start) / len(batch.targets))
    return sum(seconds[1:]) / (steps - 1)


def _memory() -> float:
    """Largest resident memory so far, GB."""
    return largest_memory(os.getpid()) * 1024 / 1e9
