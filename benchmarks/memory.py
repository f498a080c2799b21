"""Memory of ingest and split beside the size of the files that they read.

The rows are those of the benchmark filtering, once a million and once four million (or --interactions); the 3-core is
kept. The growth from one to the other is what a rule asks for a GB of its input (workflow/rules/).

    python -m benchmarks memory [--interactions 4000000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.filtering import shop, steps

__all__ = ["main"]

KCORE = 3


def main() -> None:
    """Run the steps at both sizes and print the growth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    parser.add_argument("--interactions", type=int, default=4_000_000)
    most = parser.parse_args().interactions
    with tempfile.TemporaryDirectory() as temporary:
        small, large = (_steps(Path(temporary) / str(count), count) for count in (most // 4, most))
    print(f"{'step':<14} {'input, GB':>16} {'memory, GB':>16} {'growth, GB per GB':>20}")
    for step, (read, memory) in large.items():
        before, least = small[step]
        growth = (memory - least) / (read - before)
        print(f"{step:<14} {before:>7.3f} {read:>8.3f} {least:>7.2f} {memory:>8.2f} {growth:>20.1f}")


def _steps(folder: Path, interactions: int) -> dict[str, tuple[float, float]]:
    """Step -> GB of its input files, GB of memory."""
    shop(folder, interactions)
    read = {"ingest": ("interactions.csv", "items.csv"), "split": ("kept.parquet", "items.parquet")}
    costs = dict(zip(read, steps(folder, KCORE), strict=True))
    return {
        step: (sum((folder / name).stat().st_size for name in names) / 1e9, costs[step].memory / 1e9)
        for step, names in read.items()
    }
