"""Memory of ingest and split beside the size of the files that they read.

The rows are those of the benchmark filtering, once a million and once four million (or --interactions); the 3-core is
kept. The growth from one to the other is what a rule asks for a GB of its input (workflow/rules/).

    python -m benchmarks memory [--interactions 4000000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks._cost import cost_of_command
from benchmarks.filtering import shop
from decorec.config.prepare import SplitConfig

__all__ = ["main"]


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
    section: list[str | Path] = ["--filter", json.dumps({"kcore": 3, "require": []})]
    tables: list[str | Path] = ["--interactions", folder / "kept.parquet", "--catalogue", folder / "items.parquet"]
    source = json.dumps({"source": "table", "path": str(folder)})
    settings = ["--settings", SplitConfig().model_dump_json()]
    made: list[str | Path] = ["--vocab", folder / "vocab.parquet", "--sequences", folder / "sequences.parquet"]
    steps: dict[str, tuple[list[str | Path], list[Path]]] = {
        "ingest": (
            ["--dataset", source, "--counts", folder / "counts.json", *section, *tables],
            [folder / "interactions.csv", folder / "items.csv"],
        ),
        "split": (
            [*section, *tables, *settings, "--features", *made, "--statistics", folder / "statistics.json"],
            [folder / "kept.parquet", folder / "items.parquet"],
        ),
    }
    found = {}
    for step, (arguments, read) in steps.items():
        cost = cost_of_command([sys.executable, "-m", "decorec", step, "--threads", "2", *arguments])
        found[step] = sum(path.stat().st_size for path in read) / 1e9, cost.memory / 1e9
    return found
