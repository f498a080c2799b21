"""What one epoch of every model costs on a data set that is prepared: the first line of a plan for tuning.

Trains every model of a configuration's runs for a few epochs with its own values, validation included, and prints
processor seconds per epoch and for its first stage only; floors print the seconds of their fit. Test targets are never
looked at.

    python -m benchmarks epochs --folder results/scientific [--epochs 2] [--models sasrec unisrec] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from benchmarks._worlds import describe_machine
from decorec.config.runs import resolve
from decorec.data.sequences import Sequences, read_vocab
from decorec.models.inputs import ModelInputs
from decorec.models.registry import MODELS
from decorec.training.loop import train_model
from decorec.training.steps import prepare

__all__ = ["main"]


def main() -> None:
    """Train each model a little, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks epochs")
    parser.add_argument("--folder", type=Path, required=True, help="results/<data set>")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    data = Sequences.read(options.folder / "sequences.parquet")
    items = read_vocab(options.folder / "vocab.parquet")
    files = {name: options.folder / "features" / f"{name}.safetensors" for name in ("text", "image")}
    inputs = ModelInputs(features=files, cooccurrence=options.folder / "graph" / "cooccurrence.npz")
    print(f"{options.folder.name}: {len(data.users):,} users, {len(items):,} items, {len(data.items):,} interactions")
    for name in options.models:
        run = resolve({}, "described", {"model": {"name": name}, "train": {"epochs": options.epochs}})
        stage = run.stages[0]
        model = prepare(run, stage, 0, inputs.item_data(run, stage, items), None)
        start = time.process_time()
        epochs = len(train_model(model, data, run.train.stage(stage), 0))
        seconds = (time.process_time() - start) / epochs
        print(f"  {name:<16} {stage:<7} {seconds:8.2f} s of processor time an epoch", flush=True)
