"""What it costs to keep the state of a training: DeCoRec's stage 1 on Scientific, without and with it, in turns.

The clock counts, because writing is not processor time. On a machine with other work it varies by more than the cost:
the share that the saves themselves took, of the same training, is the figure to look at.

    python -m benchmarks resume [--folder data/scientific] [--epochs 6] [--rounds 1] [--seconds 30]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks._cost import cost_of_call
from benchmarks._worlds import SCIENTIFIC, describe_machine, scientific
from decorec.artifacts import resume
from decorec.artifacts.resume import Keeper
from decorec.config.runs import resolve
from decorec.training.loop import train_model
from decorec.training.steps import prepare

__all__ = ["main"]


def main() -> None:
    """Train in turns, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks resume")
    parser.add_argument("--folder", type=Path, default=SCIENTIFIC)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=resume.SECONDS, help="least time between two saves")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    resume.SECONDS = options.seconds
    print(describe_machine())
    world = scientific(options.folder)
    run = resolve({}, "described", {"train": {"epochs": options.epochs, "patience": options.epochs}})
    config = run.train.stage("stage1")

    def train(keeper: Keeper | None) -> None:
        model = prepare(run, "stage1", 0, world.item_data, None)
        train_model(model, world.sequences, config, 0, keeper=keeper)

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            plain = cost_of_call(lambda: train(None))
            print(plain.line("without a state"))
            keeper = Keeper(Path(folder) / "state.safetensors", "benchmark")
            kept = cost_of_call(partial(train, keeper))
            print(kept.line("with a state"))
            size = keeper.path.stat().st_size if keeper.saves else 0
            print(f"  {keeper.saves} saves of {size / 1e6:.1f} MB in {keeper.seconds:.2f} s", end=", ")
            print(f"{keeper.seconds / kept.clock:.2%} of the training; with / without: {kept.clock / plain.clock:.3f}")
            keeper.remove()


if __name__ == "__main__":
    main()
