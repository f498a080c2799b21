"""Counting of co-occurrences: growth with the input, memory of the step, and a plain dictionary beside it.

Interactions are generated: 5 to 1,000 per user, heavy-tailed, with tastes. The dictionary counts the same users as our
count beside it, on a smaller set of the same kind that it still holds in memory. Compiling the loops (or loading them
from the cache) is a figure of its own, and part of the step, which is a process of its own. The least of the rounds
counts.

    python -m benchmarks cooccurrence [--interactions 10000000] [--compared 2000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numba
import numpy as np

from benchmarks._cost import Cost, cost_of_call, cost_of_command
from benchmarks._shopping import shopping
from decorec.config.prepare import GraphConfig
from decorec.data.sequences import Sequences, write_vocab
from decorec.prepare.cooccurrence import count_pairs

__all__ = ["main"]


def main() -> None:
    """Generate, count and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cooccurrence")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--compared", type=int, default=2_000_000, help="interactions that the dictionary counts")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threads = os.cpu_count() or 1
    print(f"{threads} processors, numba {numba.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    small, count = _generated(options.compared)
    print(_count(_first(small, 1_000), count, threads).line("compiling, or its cache"))
    ours = _least(_count(small, count, threads) for _ in range(options.rounds))
    plain = _least(_dictionary(small) for _ in range(options.rounds))
    print(ours.line("all users"), plain.line("a dictionary"), sep="\n")
    print(
        f"ratio: {plain.clock / ours.clock:.0f} by the clock, {plain.processor / ours.processor:.0f} by processor time"
    )
    sequences, count = _generated(options.interactions)
    half = _first(sequences, len(sequences.items) // 2)
    rounds = [[_count(data, count, threads) for data in (half, sequences)] for _ in range(options.rounds)]
    halved, whole = (_least(costs) for costs in zip(*rounds, strict=True))
    print(halved.line("half of the users"), whole.line("all users"), sep="\n")
    growth = whole.clock / halved.clock, whole.processor / halved.processor
    print(f"{_pairs(sequences) / _pairs(half):.2f} times the pairs: {growth[0]:.2f} times the time", end=" ")
    print(f"({growth[1]:.2f} by processor time)", flush=True)
    del half
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_vocab(folder / "vocab.parquet", [f"item {index}" for index in range(count)])
        sequences.write(folder / "sequences.parquet")
        step = [sys.executable, "-m", "decorec", "cooccurrence", "--threads", str(threads), "--settings", "{}"]
        for name, file in (("vocab", "vocab.parquet"), ("sequences", "sequences.parquet"), ("matrix", "s.npz")):
            step += [f"--{name}", str(folder / file)]
        print(cost_of_command(step).line("step, a process"))


def _generated(interactions: int) -> tuple[Sequences, int]:
    """Sequences and the number of items; says what they are."""
    offsets, items, count = shopping(interactions, np.random.default_rng(0))
    sequences = Sequences([""] * (len(offsets) - 1), offsets, items)
    print(f"{len(items):,} interactions of {len(sequences.users):,} users with {count:,} items, lengths up to", end=" ")
    print(f"{sequences.lengths.max()}, {_pairs(sequences):,} pairs of positions", flush=True)
    return sequences, count


def _count(sequences: Sequences, items: int, threads: int) -> Cost:
    return cost_of_call(lambda: count_pairs(sequences, items, GraphConfig(), threads=threads))


def _least(costs: Iterable[Cost]) -> Cost:
    return min(costs, key=lambda cost: cost.clock)


def _first(sequences: Sequences, interactions: int) -> Sequences:
    """The first users, with about that many interactions."""
    users = int(np.searchsorted(sequences.offsets, interactions))
    offsets = sequences.offsets[: users + 1]
    return Sequences(sequences.users[:users], offsets, sequences.items[: offsets[-1]])


def _pairs(sequences: Sequences) -> int:
    lengths = sequences.lengths
    return int((lengths * (lengths - 1) // 2).sum())


def _dictionary(sequences: Sequences) -> Cost:
    """The same sums as one writes them down in Python."""
    flat = sequences.items.tolist()
    bounds = sequences.offsets.tolist()

    def count() -> dict[tuple[int, int], float]:
        sums: defaultdict[tuple[int, int], float] = defaultdict(float)
        for start, end in itertools.pairwise(bounds):
            for p in range(start, end):
                for q in range(p + 1, end):
                    left, right = flat[p], flat[q]
                    if left != right:
                        sums[left, right] += 1 / (q - p)
                        sums[right, left] += 1 / (q - p)
        return sums

    return cost_of_call(count)
