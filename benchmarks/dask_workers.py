"""Co-occurrence in one process and over two workers of dask: time and memory, from one million interactions on.

Interactions are those of the benchmark cooccurrence, and one customer more, who has bought as many items as --longest
says: each of them beside each other. Every step is a process of its own, with two threads or two workers. The memory is
that of the largest of its processes. All must write the same matrix.

    python -m benchmarks dask_workers [--interactions 1000000 2000000 4000000] [--longest 5000] [--top 50] [--memory 1]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import distributed
import numpy as np

from benchmarks._cost import cost_of_command
from benchmarks._shopping import shopping
from decorec.config.dask import DaskConfig
from decorec.config.prepare import GraphConfig
from decorec.data.sequences import Sequences, write_vocab

__all__ = ["main"]


def main() -> None:
    """Generate each size, count it in each way and print what it takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks dask_workers")
    parser.add_argument("--interactions", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("--longest", type=int, default=5_000, help="items of one customer")
    parser.add_argument("--top", type=int, default=50, help="graph.top, beside all entries")
    parser.add_argument("--memory", type=float, default=1, help="GB of a worker (dask.memory)")
    options = parser.parse_args()
    print(f"dask and distributed {distributed.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    for interactions in options.interactions:
        with tempfile.TemporaryDirectory() as temporary:
            _measure(Path(temporary), interactions, options.longest, options.top, options.memory)


def _measure(folder: Path, interactions: int, longest: int, top: int, memory: float) -> None:
    offsets, items, count = shopping(interactions, np.random.default_rng(0))
    offsets = np.append(offsets, offsets[-1] + longest)
    items = np.append(items, np.arange(longest, dtype=np.int32) % count)
    users = [str(user) for user in range(len(offsets) - 1)]
    Sequences(users, offsets, items).write(folder / "sequences.parquet")
    write_vocab(folder / "vocab.parquet", [f"item {index}" for index in range(count)])
    print(f"{len(items):,} interactions of {len(users):,} users with {count:,} items", flush=True)
    for graph, entries in ((GraphConfig(), "all entries"), (GraphConfig(top=top), f"the {top} largest")):
        written = set()
        for where, label in ((None, "threads"), ("local", "workers")):
            section = DaskConfig(scheduler=where, memory=memory)
            step = [sys.executable, "-m", "decorec", "cooccurrence", "--threads", "2"]
            step += ["--settings", graph.model_dump_json(), "--dask", section.model_dump_json()]
            for name, file in (("vocab", "vocab.parquet"), ("sequences", "sequences.parquet"), ("matrix", "s.npz")):
                step += [f"--{name}", str(folder / file)]
            print(cost_of_command(step).line(f"{entries}, {label}"), flush=True)
            written.add(hashlib.sha256((folder / "s.npz").read_bytes()).hexdigest())
        assert len(written) == 1, "the matrices differ"
