"""Seconds per epoch on the paper's Scientific set beside what a user would run instead, with accuracy.

RecBole's SASRec (cross-entropy, d = 300, batches of 512 rows, L = 50, dropout 0.5) runs in an environment of its own:

    python3 -m venv ~/.cache/decorec-benchmarks/recbole
    ~/.cache/decorec-benchmarks/recbole/bin/pip install "setuptools<81" "numpy<2" "pandas<2.3" "scipy<1.13" torch \
        recbole==1.2.1

It trains on the same rows, one per prefix, and ranks the same targets among all items. Both sides get the same number
of threads and alternate, epoch by epoch; the median counts, in processor time with one thread and on the clock with
more. The authors' code is not distributed under a licence and is not run here.

    python -m benchmarks peers [--epochs 3] [--threads 1] [--accuracy] [--python PATH]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks._peer import Peer
from benchmarks._worlds import SCIENTIFIC, World, describe_machine, scientific
from benchmarks.training import clock
from decorec.config.runs import resolve
from decorec.data.batches import training_windows
from decorec.evaluation.full_ranking import rank_users
from decorec.evaluation.metrics import parse_metric
from decorec.models.registry import build
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_model, train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["main"]

PYTHON = Path("~/.cache/decorec-benchmarks/recbole/bin/python")
OURS = (("sasrec", "fit"), ("decorec", "stage1"), ("decorec", "stage2"))
RELEASED = (57.0, 62.0)
"""Seconds per epoch of the authors' released DeCoRec on this set with two idle cores, measured once elsewhere."""


def main() -> None:
    """Measure both sides and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer-steps", type=int, default=22, help="of RecBole's epoch of 22; fewer are scaled up")
    parser.add_argument("--accuracy", action="store_true", help="train both SASRec to the end; takes long")
    parser.add_argument("--data", type=Path, default=SCIENTIFIC)
    parser.add_argument("--python", type=Path, default=PYTHON, help="interpreter of RecBole's environment")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    world = scientific(options.data)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as temporary:
        _atomic_files(world, Path(temporary) / "scientific")
        arguments = [temporary, str(options.threads), str(options.peer_steps)]
        peer = Peer("RecBole", options.python.expanduser(), "_recbole.py", arguments, Path(temporary))
        version, its_torch = peer.ask("version").split()
        ours = [(name, stage, precision) for name, stage in OURS for precision in ("fp32", "bf16")]
        theirs: list[float] = []
        seconds: dict[tuple[str, str, str], list[float]] = {which: [] for which in ours}
        for _ in range(options.epochs):
            theirs.append(peer.ask("epoch"))
            for which in ours:
                seconds[which].append(_epoch(world, *which))
        reference = median(theirs)
        print(f"RecBole {version} SASRec: {reference:.1f} s per epoch ({its_torch})")
        for which, values in seconds.items():
            name, stage, precision = which
            line = f"{name} {stage} {precision}: {median(values):.2f} s per epoch"
            if name == "sasrec":
                print(f"{line}, 1/{reference / median(values):.1f} of RecBole's")
            else:
                low, high = (figure / median(values) for figure in RELEASED)
                print(f"{line}, 1/{low:.0f} to 1/{high:.0f} of the released code's 57 to 62 s")
        if options.accuracy:
            print("test Hit@10, NDCG@10, one seed, best epoch on validation NDCG@10")
            print(f"  RecBole: {peer.ask('accuracy')}")
            print(f"  ours: {_accuracy(world)}")
        peer.close()


def _epoch(world: World, name: str, stage: str, precision: str) -> float:
    """Seconds of one epoch of ours, as train_model runs it."""
    run = resolve({}, "described", {"model": {"name": name}, "train": {"precision": precision}})
    config = run.train.stage(stage)
    torch.manual_seed(0)
    model = build(run, world.item_data, stage)
    adam, average = build_optimizer(model, config), ExponentialMovingAverage(model, config.averaging)
    generator = torch.Generator().manual_seed(0)
    start = clock()
    for batch in training_windows(world.sequences, run.model.length).epoch(config.batch_size, generator):
        train_step(model, batch, adam, config, 1.0)
        average.update()
    return clock() - start


def _accuracy(world: World) -> str:
    run = resolve({}, "described", {"model": {"name": "sasrec"}})
    torch.manual_seed(0)
    model = build(run, world.item_data, "fit")
    history = train_model(model, world.sequences, run.train.stage("fit"), 0)
    found = rank_users(model, world.sequences, "test")
    figures = ", ".join(f"{parse_metric(name)(found).mean():.4f}" for name in ("Hit@10", "NDCG@10"))
    return f"{figures} after {len(history)} epochs"


def _atomic_files(world: World, folder: Path) -> None:
    """Rows for RecBole: one per prefix in the training part, one per user in the others."""
    folder.mkdir()
    sequences = world.sequences
    rows: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user in range(len(sequences.offsets) - 1):
        items = [str(item) for item in sequences.items[sequences.offsets[user] : sequences.offsets[user + 1]]]
        for place in range(1, len(items)):
            part = {len(items) - 1: "test", len(items) - 2: "valid"}.get(place, "train")
            rows[part].append(f"{user}\t{' '.join(items[max(0, place - 50) : place])}\t{items[place]}")
    for part, lines in rows.items():
        header = "user_id:token\titem_id_list:token_seq\titem_id:token"
        (folder / f"scientific.{part}.inter").write_text("\n".join([header, *lines]) + "\n")
