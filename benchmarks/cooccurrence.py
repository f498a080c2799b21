"""Counting of co-occurrences: growth with the input, memory of the step, and a plain dictionary beside it.

Interactions are generated: 5 to 1,000 per user, heavy-tailed, with tastes. The dictionary counts a part of the users;
rates are compared per pair of positions. Compilation is left out of the counting and is part of the step, which is a
process of its own. The least of the rounds counts.

    python -m benchmarks cooccurrence [--interactions 10000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numba
import numpy as np

from benchmarks._cost import Cost, cost_of_call, cost_of_command
from benchmarks._shopping import shopping
from decorec.config import GraphConfig
from decorec.cooccurrence import count_pairs
from decorec.sequences import Sequences, write_vocab

__all__ = ["main"]

PART = 500_000
"""Interactions that the dictionary counts."""


def main() -> None:
    """Generate, count and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cooccurrence")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threads = os.cpu_count() or 1
    offsets, items, count = shopping(options.interactions, np.random.default_rng(0))
    sequences = Sequences([""] * (len(offsets) - 1), offsets, items)
    half, part = (_first(sequences, share) for share in (len(items) // 2, PART))
    print(f"{len(items):,} interactions of {len(sequences.users):,} users with {count:,} items, lengths up to", end=" ")
    print(f"{sequences.lengths.max()}, {_pairs(sequences):,} pairs of positions; {threads} processors, numba", end=" ")
    print(f"{numba.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    count_pairs(_first(sequences, 1_000), count, GraphConfig(), threads=threads)
    rounds: list[list[Cost]] = []
    for _ in range(options.rounds):
        counted = [
            cost_of_call(lambda data=data: count_pairs(data, count, GraphConfig(), threads=threads))  # type: ignore[misc]
            for data in (half, sequences)
        ]
        rounds.append([*counted, _dictionary(part)])
    halved, whole, plain = (min(costs, key=lambda cost: cost.clock) for costs in zip(*rounds, strict=True))
    print(halved.line("half of the users"))
    print(whole.line("all users"))
    print(plain.line(f"dictionary, {len(part.items):,}"))
    print(
        f"twice the pairs ({_pairs(sequences) / _pairs(half):.2f}) take {whole.clock / halved.clock:.2f} times the time"
    )
    rates = [_pairs(data) / 1e6 / cost.clock for data, cost in ((sequences, whole), (part, plain))]
    processor = plain.processor / _pairs(part) / (whole.processor / _pairs(sequences))
    print(f"million pairs a second   {rates[0]:.1f} against {rates[1]:.2f}: {rates[0] / rates[1]:.0f} times", end=" ")
    print(f"(by processor time {processor:.0f} times)")
    del half, part
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_vocab(folder / "vocab.parquet", [f"item {index}" for index in range(count)])
        sequences.write(folder / "sequences.parquet")
        step = [sys.executable, "-m", "decorec", "cooccurrence", "--threads", str(threads), "--graph", "{}"]
        for name, file in (("vocab", "vocab.parquet"), ("sequences", "sequences.parquet"), ("cooccurrence", "s.npz")):
            step += [f"--{name}", str(folder / file)]
        print(cost_of_command(step).line("step, a process"))


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

    def count() -> None:
        sums: defaultdict[tuple[int, int], float] = defaultdict(float)
        for start, end in itertools.pairwise(bounds):
            for p in range(start, end):
                for q in range(p + 1, end):
                    left, right = flat[p], flat[q]
                    if left != right:
                        sums[left, right] += 1 / (q - p)
                        sums[right, left] += 1 / (q - p)

    return cost_of_call(count)
