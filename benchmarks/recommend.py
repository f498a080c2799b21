"""Lists for many customers: customers per second and memory beyond the model's, beside RecBole's `full_sort_topk`.

Weights are random: what a list costs does not depend on them. RecBole's SASRec has the same width, layers, heads and
length, and gives lists to fewer customers of the same catalogue (see `peers` for its environment; without it, only this
side is measured). Both sides get one thread; processor time counts.

    python -m benchmarks recommend [--customers 1000000] [--items 20000] [--width 64] [--python PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks._shopping import purchases
from benchmarks._worlds import describe_machine
from benchmarks.peers import PYTHON
from decorec.artifacts.files import write_table
from decorec.artifacts.step_log import largest_memory
from decorec.config.recommend import RecommendConfig
from decorec.config.runs import resolve
from decorec.models import checkpoint
from decorec.models.item_data import ItemData
from decorec.models.registry import build
from decorec.recommend.step import recommend
from decorec.recommend.trained import load

__all__ = ["main"]

HISTORIES = "results/shop/histories.parquet"
RECBOLE = Path(__file__).with_name("_recbole_lists.py")


def main() -> None:
    """Measure both sides and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks recommend")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--peer-customers", type=int, default=2_000, help="of RecBole's side")
    parser.add_argument("--python", type=Path, default=PYTHON, help="interpreter of RecBole's environment")
    parser.add_argument("--one", type=Path, help="measure this side alone, in this process, in this folder")
    options = parser.parse_args()
    if options.one is not None:
        _ours(options, options.one)
        return
    print(describe_machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write(options, folder)
        words = [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items() if name != "one"]
        ours = _answer([sys.executable, "-m", "benchmarks", "recommend", *words, f"--one={folder}"])
        print(
            f"this project, sasrec of width {options.width}: {options.customers:,} customers x {options.items:,} items "
            f"in {ours['seconds']:.0f} s of processor time ({options.customers / ours['seconds']:,.0f} a second), "
            f"{ours['memory'] / 1e9:.2f} GB beyond the loaded model"
        )
        python = options.python.expanduser()
        if not python.exists():
            print(f"RecBole: not measured, no {python} (see benchmarks/peers.py)")
            return
        settings = {name: getattr(options, name) for name in ("items", "width", "k", "peer_customers")}
        theirs = _answer([str(python), str(RECBOLE), str(folder), json.dumps(settings)])
        speed, peer = options.customers / ours["seconds"], options.peer_customers / theirs["seconds"]
        print(
            f"RecBole {theirs['version']} full_sort_topk: {peer:,.0f} customers a second, 1/{speed / peer:.0f} of ours"
        )


def _write(options: argparse.Namespace, folder: Path) -> None:
    """The histories of all customers, as a table, and a model with random weights."""
    random = np.random.default_rng(0)
    lengths = 5 + random.negative_binomial(0.5, 0.5 / 3.17, options.customers)
    users = np.repeat(np.arange(options.customers), lengths)
    bought = purchases(lengths, options.items, 50, 0.5, 2.2, random)
    frame = pl.DataFrame({"user": users, "item": bought, "timestamp": np.arange(len(users))})
    write_table(folder / HISTORIES, frame.cast({"user": pl.String, "item": pl.String}))
    model = {"name": "sasrec", "dim": options.width, "encoder": {"layers": 2, "heads": 2, "feed_forward": 256}}
    run = resolve({}, "described", {"model": model})
    torch.manual_seed(0)
    built = build(run, ItemData(options.items, {}), "fit")
    names = [str(item) for item in range(options.items)]
    counts = np.bincount(bought, minlength=options.items)
    checkpoint.save(built, run, 0, names, counts, folder / "model.safetensors", folder / "config.json")


def _ours(options: argparse.Namespace, folder: Path) -> None:
    torch.set_num_threads(1)
    load(folder).recommend(["1"])
    before = largest_memory(os.getpid())
    start = time.process_time()
    recommend(
        run=folder,
        histories=folder / HISTORIES,
        settings=RecommendConfig(k=options.k),
        output=folder / "lists.parquet",
    )
    seconds = time.process_time() - start
    memory = 1024 * (largest_memory(os.getpid()) - before)
    print("ANSWER " + json.dumps({"seconds": seconds, "memory": memory}))


def _answer(command: list[str]) -> dict[str, float]:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr}")
    lines = [line for line in result.stdout.splitlines() if line.startswith("ANSWER ")]
    found: dict[str, float] = json.loads(lines[-1].removeprefix("ANSWER "))
    return found
