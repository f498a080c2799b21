"""The main table of many users: what its means, intervals and tests take, as a step of its own.

Ranks are made up: each user's target is more or less hard, and a run and a seed add noise of their own, so the runs
differ as models do that learn from the same data. A tenth of the targets tie with others.

    python -m benchmarks statistics [--users 1000000 10000000] [--runs 3] [--seeds 3] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._cost import cost_of_command
from decorec.artifacts import layout
from decorec.artifacts.files import write_table

__all__ = ["main"]

ITEMS = 100_000


def main() -> None:
    """Make ranks of each number of users, and print what the table of them takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks statistics")
    parser.add_argument("--users", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of the tables and ranks, used again if they are there")
    options = parser.parse_args()
    print(f"{options.runs} runs of {options.seeds} seeds; polars {pl.__version__}, numpy {np.__version__}")
    runs = [f"run-{run}" for run in range(options.runs)]
    for users in options.users:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.keep or Path(temporary)) / str(users)
            files = [
                _ranks(folder / layout.RANKS.format(dataset="shop", run=name, seed=seed), users, run, seed)
                for run, name in enumerate(runs)
                for seed in range(options.seeds)
            ]
            size = sum(file.stat().st_size for file in files)
            step = [sys.executable, "-m", "decorec", "comparison-table", "--kind", "main", "--reference", runs[0]]
            step += ["--runs", *runs, "--ranks", *map(str, files), "--evaluate", "{}", "--paper", "{}"]
            for kind in ("csv", "tex", "html", "md"):
                step += [f"--{kind}", str(folder / f"main.{kind}")]
            print(cost_of_command(step).line(f"{users:,} users"), f" {size / 1e9:.2f} GB of files", flush=True)


def _ranks(file: Path, users: int, run: int, seed: int) -> Path:
    """The ranks of a run; the later a run, the worse."""
    if file.exists():
        return file
    shared, own = np.random.default_rng(0), np.random.default_rng([run, seed])
    targets = shared.integers(0, ITEMS, users, dtype=np.int32)
    lengths = shared.geometric(0.2, users).astype(np.int32) + 2
    hard = shared.normal(5.0, 2.0, users)
    higher = np.exp(hard + own.normal(0.05 * run, 1.0, users)).clip(0, ITEMS - 40).astype(np.int32)
    equal = (own.integers(1, 20, users) * (own.random(users) < 0.1)).astype(np.int32)
    cold = targets % 20 == 0
    columns = {"user": pl.select(pl.int_range(users).cast(pl.String).str.zfill(13)).to_series(), "target": targets}
    columns |= {"higher": higher, "equal": equal, "higher_masked": higher * 9 // 10, "equal_masked": equal}
    columns |= {"history_length": lengths + 1, "training_length": lengths}
    columns |= {"target_count": np.where(cold, 0, 7).astype(np.int32)}
    for name, counts in (("higher_cold", higher // 20), ("equal_cold", equal // 20)):
        columns[name] = pl.Series(counts).set(pl.Series(~cold), None)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, pl.DataFrame(columns))
    return file
