"""What a difference of the configuration costs or gains on validation, over seeds, for a data set that is prepared.

Trains a model without and with the difference and prints the mean of each over seeds, and the mean and standard error
of the paired difference. Test targets are never looked at.

    python -m benchmarks quality --folder results/scientific --difference '{"train": {"precision": "bf16"}}'
        [--base '{"train": {"negatives": 512}}'] [--model sasrec] [--seeds 3] [--epochs 300] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._worlds import describe_machine
from decorec.config.base import merge
from decorec.config.runs import resolve
from decorec.data.sequences import Sequences, read_vocab
from decorec.models.inputs import ModelInputs
from decorec.models.registry import build
from decorec.training.loop import MONITORED, train_model

__all__ = ["main"]


def main() -> None:
    """Train everything and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality")
    parser.add_argument("--folder", type=Path, required=True, help="results/<data set>")
    parser.add_argument("--difference", type=json.loads, required=True)
    parser.add_argument("--base", type=json.loads, default={}, help="values that both have")
    parser.add_argument("--model", choices=["sasrec", "decorec"], default="sasrec")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    base = merge({"model": {"name": options.model}, "train": {"epochs": options.epochs}}, options.base)
    results: list[list[list[float]]] = []
    for sections in (base, merge(base, options.difference)):
        results.append([_best(options.folder, sections, seed) for seed in range(options.seeds)])
    print(f"{options.folder.name}, {options.model}, best epoch on validation, {options.seeds} seeds")
    one, other = np.array(results[0]), np.array(results[1])
    for column, name in enumerate((*MONITORED, "epochs", "seconds")):
        gap = other[:, column] - one[:, column]
        error = gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else float("nan")
        means = f"{one[:, column].mean():.4f} -> {other[:, column].mean():.4f}"
        print(f"  {name:<8} {means}, difference {gap.mean():+.4f} +- {error:.4f}", flush=True)


def _best(folder: Path, sections: dict[str, Any], seed: int) -> list[float]:
    """Validation figures of the best epoch, epochs run and processor seconds, of the model's first stage."""
    run = resolve({}, "described", sections)
    stage = run.stages[0]
    items = read_vocab(folder / "vocab.parquet")
    features = {name: folder / "features" / f"{name}.safetensors" for name in ("text", "image")}
    inputs = ModelInputs(features=features, cooccurrence=folder / "graph" / "cooccurrence.npz")
    torch.manual_seed(seed)
    model = build(run, inputs.item_data(run, stage, items), stage)
    start = time.process_time()
    history = train_model(model, Sequences.read(folder / "sequences.parquet"), run.train.stage(stage), seed)
    seconds = time.process_time() - start
    best = history.filter("best").row(0, named=True)
    return [*(best[name] for name in MONITORED), float(len(history)), seconds]
