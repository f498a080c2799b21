"""Ingest and split of a folder of many parquet files: memory and processor time by the number of interactions.

A million interactions in each file, ten for a user and a hundred for an item, so that the 5-core keeps nearly all of
them. Ids are texts of 14 and 10 letters, and in no order. The steps are processes of their own.

    python -m benchmarks many_files [--interactions 1000000 10000000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.filtering import steps

__all__ = ["main"]

KCORE = 5
PART = 1_000_000


def main() -> None:
    """Generate what is missing, run both steps at every size and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks many_files")
    parser.add_argument("--interactions", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--keep", type=Path, help="folder of the generated files, used again if they are there")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} processors, polars {pl.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}"
    )
    print(f"{'interactions':>13} {'files':>6} {'kept':>12}", end="")
    print("".join(f" {step:>8} {'processor':>11} {'per one':>10} {'memory':>9}" for step in ("ingest", "split")))
    with tempfile.TemporaryDirectory() as temporary:
        for count in options.interactions:
            folder = (options.keep or Path(temporary)) / str(count)
            files = _files(folder, count)
            costs = steps(folder, KCORE, "parts")
            kept = pl.scan_parquet(folder / "kept.parquet", glob=False).select(pl.len()).collect().item()
            print(f"{count:>13,} {files:>6} {kept:>12,}", end="")
            for cost in costs:
                print(f" {cost.clock:6.1f} s {cost.processor:9.1f} s", end="")
                print(f" {1e6 * cost.processor / count:7.2f} us {cost.memory / 1e9:6.2f} GB", end="")
            print(flush=True)


def _files(folder: Path, count: int) -> int:
    """Write the tables, and say how many files the interactions are."""
    random = np.random.default_rng(0)
    users, items = max(count // 10, 1), max(count // 100, 1)
    starts = range(0, count, PART)
    if not (folder / "items.csv").exists():
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        for number, start in enumerate(starts):
            rows = min(PART, count - start)
            columns = {
                "user": (random.random(rows) ** 1.5 * users).astype(np.int64),
                "item": (random.random(rows) ** 2 * items).astype(np.int64),
                "timestamp": random.integers(1_400_000_000, 1_500_000_000, rows),
            }
            pl.DataFrame(columns).select(_text("user", 13), _text("item", 9), "timestamp").write_parquet(
                folder / f"parts/part-{number}.parquet"
            )
        pl.DataFrame({"item": np.arange(items)}).select(_text("item", 9)).unique(maintain_order=True).write_csv(
            folder / "items.csv"
        )
    return len(starts)


def _text(name: str, length: int) -> pl.Expr:
    """Letters that look like an id, for a number."""
    return (name[0].upper() + pl.col(name).hash(1).cast(pl.String).str.zfill(20).str.slice(20 - length)).alias(name)
