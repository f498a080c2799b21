"""What one epoch of every model costs on a data set that is prepared: the first line of a plan for tuning.

Trains every stage of every model for two epochs with its own values, validation included, and prints what the command
`estimate` computes with: processor seconds of what comes before the first epoch and of the second epoch, and the
largest memory. Floors print the seconds of their fit. Test targets are never looked at.

    python -m benchmarks epochs --folder results/scientific [--models sasrec unisrec] [--threads 1]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks._worlds import describe_machine
from decorec.artifacts.files import read_json
from decorec.config.runs import resolve
from decorec.models.registry import MODELS
from decorec.training.epoch_cost import Training, costs_of_epochs

__all__ = ["main"]


def main() -> None:
    """Train each stage of each model a little, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks epochs")
    parser.add_argument("--folder", type=Path, required=True, help="results/<data set>")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    folder: Path = options.folder
    print(describe_machine())
    files: dict[str, Any] = {
        "vocab": folder / "vocab.parquet",
        "sequences": folder / "sequences.parquet",
        "features": sorted((folder / "features").glob("*.safetensors")),
        "interests": sorted((folder / "interests").glob("*.safetensors")),
        "cooccurrence": folder / "graph" / "cooccurrence.npz",
    }
    facts = read_json(folder / "statistics.json")
    print(f"{folder.name}: {facts['users']:,} users, {facts['items']:,} items, {facts['interactions']:,} interactions")
    runs = {name: resolve({}, "described", {"model": {"name": name}}) for name in options.models}
    trainings = [Training(run, stage, **files) for run in runs.values() for stage in run.stages]
    for training, cost in zip(trainings, costs_of_epochs(trainings, options.threads), strict=True):
        print(
            f"  {training.run.model.name:<16} {training.stage:<7} {cost.start:8.2f} s at the start, "
            f"{cost.epoch:8.2f} s an epoch, {cost.memory:6.0f} MB",
            flush=True,
        )
