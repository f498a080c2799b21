"""Closed forms: seconds to fit and to rank, memory, and size of a checkpoint of EASE, over all items and restricted.

The dense systems are those of Scientific, if it is there, or of a generated set of its size. The restricted one is that
of a generated set of many items without features. Each is a process of its own, on one thread.

    python -m benchmarks closed_forms [--items 100000] [--users 150000] [--neighbours 100] [--ranked 1000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import torch

from benchmarks._worlds import SCIENTIFIC, World, describe_machine, generated, scientific
from decorec.artifacts.step_log import largest_memory
from decorec.config.runs import resolve
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.models.registry import build

__all__ = ["main"]

FORMS = ("ease", "content-ease gram", "content-ease prior", "content-ease additive")


def main() -> None:
    """Fit, rank and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks closed_forms")
    parser.add_argument("--items", type=int, default=100_000, help="items of the restricted case")
    parser.add_argument("--users", type=int, default=150_000, help="users of the restricted case")
    parser.add_argument("--neighbours", type=int, default=100, help="of an item of the restricted case")
    parser.add_argument("--ranked", type=int, default=1_000, help="users that are ranked in the restricted case")
    parser.add_argument("--one", help="measure this form alone, in this process")
    options = parser.parse_args()
    if options.one is None:
        print(describe_machine())
        for form in (*FORMS, "restricted ease"):
            subprocess.run(
                [sys.executable, "-m", "benchmarks", "closed_forms", *sys.argv[1:], "--one", form], check=True
            )
        return
    torch.set_num_threads(1)
    if options.one == "restricted ease":
        world = generated("generated", options.items, options.users, 7.67, modalities=(), graph=False)
        _measure(options.one, world, {"name": "ease", "neighbours": options.neighbours}, options.ranked)
        return
    name, _, side = options.one.partition(" ")
    world = scientific() if SCIENTIFIC.exists() else generated("generated", 1_585, 2_928, 6.73)
    _measure(options.one, world, {"name": name} | ({"side": side} if side else {}), len(world.sequences.users))


def _measure(label: str, world: World, model: dict[str, object], ranked: int) -> None:
    run = resolve({}, "described", {"model": model})
    training = world.sequences.training()
    before = largest_memory(os.getpid())
    start = time.process_time()
    fitted = build(run, world.item_data, "fit")
    fitted.observe(training)
    fit, start = time.process_time() - start, time.process_time()
    some = _first_users(world.sequences, ranked)
    rank_users(fitted, some, "valid")
    rank = (time.process_time() - start) / len(some.users)
    most = largest_memory(os.getpid())
    size = sum(tensor.numel() * tensor.element_size() for tensor in fitted.own_state().values())
    print(
        f"{label:<22} {world.item_data.item_count:>8,} items: fit {fit:7.2f} s, ranking {1e3 * rank:6.2f} ms a user, "
        f"memory {most / 1e6:5.2f} GB ({before / 1e6:.2f} before), checkpoint {size / 1e6:7.1f} MB",
        flush=True,
    )


def _first_users(sequences: Sequences, count: int) -> Sequences:
    ends = sequences.offsets[: count + 1]
    return Sequences(sequences.users[:count], ends, sequences.items[: int(ends[-1])])
