"""What a warm start (train.start) costs and gains over days, beside a training from nothing every day.

The interactions of a data set that is prepared are cut by time into the days before the first one and ``--days`` slices
of as many interactions, or with ``--every N`` into as many slices of N days as the calendar (UTC) has them, the last of
the data. Every morning both models are trained on what was bought until then: one from nothing, one from its own
checkpoint of the day before (the first day from nothing as well). Both are asked for the first purchase of the new day
of every customer who has bought at least two items before: NDCG@10 among all items that were bought until then, which a
new product is not yet. A day without such a customer is passed over. Training, early stopping and shapes are those of
the run, with leave-one-out: the validation target is the last item before the morning of a customer who is asked; of
every other customer that item is held back as well, and the one before it is the validation target. Co-occurrence and
clusters are computed anew every day, for both alike.

    python -m benchmarks daily [--folder results/sample] [--model decorec] [--difference '{}'] [--days 10] [--share 0.3]
                               [--every N] [--patience 5] [--seed 0] [--output daily.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._worlds import describe_machine
from decorec.artifacts.files import write_text
from decorec.config.base import merge
from decorec.config.runs import Run, resolve
from decorec.data.sequences import Sequences, read_vocab
from decorec.data.training_history import best_epoch
from decorec.evaluation.full_ranking import rank_users
from decorec.evaluation.rank_metrics import parse_metric
from decorec.models import checkpoint
from decorec.training.files import training_files
from decorec.training.steps import train

__all__ = ["main"]

METRIC = parse_metric("NDCG@10")
DAY = 86_400


@dataclass(frozen=True)
class Trained:
    """What one training of a day gave: NDCG@10 of the next purchases, processor seconds, epochs of its stages."""

    ndcg: float
    seconds: float
    epochs: list[int]


@dataclass(frozen=True)
class Day:
    """A day: items known in the morning, new ones among them, customers asked about, and both trainings."""

    day: int
    items: int
    new: int
    customers: int
    nothing: Trained
    warm: Trained


def mornings(timestamps: npt.NDArray[np.int64], days: int, share: float, every: int | None) -> npt.NDArray[np.int64]:
    """Where each of the ``days`` begins and the last one ends, [days + 1] seconds."""
    if every is not None:
        midnight = int(timestamps.max()) // DAY + 1
        return DAY * (midnight - every * np.arange(days, -1, -1))
    cuts = np.quantile(timestamps, np.linspace(1 - share, 1, days + 1)).astype(np.int64)
    cuts[-1] += 1
    return cuts


def morning(
    data: Sequences, names: list[str], cut: int, until: int
) -> tuple[Sequences, list[str], npt.NDArray[np.bool_]]:
    """What is known at the time ``cut``: sequences and items, and whose test target is the first purchase of the day.

    A sequence ends with this purchase, or before the day; its last item is the test target, the one before it that of
    validation. Customers with fewer than three items are left out.
    """
    assert data.timestamps is not None
    owner = np.repeat(np.arange(len(data.users)), data.lengths)
    before = data.timestamps < cut
    past = np.bincount(owner, before, len(data.users)).astype(np.int64)
    known = np.zeros(len(names), dtype=bool)
    known[data.items[before]] = True
    position = np.arange(len(data.items)) - data.offsets[:-1][owner]
    today = (position == past[owner]) & (data.timestamps < until) & known[data.items]
    asked = np.bincount(owner, today, len(data.users)) > 0
    kept = past + asked >= 3
    take = (before | today) & kept[owner]
    lengths = (past + asked)[kept]
    number = np.cumsum(known) - 1
    return (
        Sequences(
            [user for user, there in zip(data.users, kept, strict=True) if there],
            np.concatenate([[0], np.cumsum(lengths)]),
            number[data.items[take]].astype(np.int32),
            data.timestamps[take],
        ),
        [name for name, there in zip(names, known, strict=True) if there],
        asked[kept],
    )


def fitted(
    run: Run, seed: int, files: dict[str, Any], folder: Path, earlier: Path | None, asked: npt.NDArray[np.bool_]
) -> Trained:
    """Train under ``folder``, from nothing or from an ``earlier`` folder, and rank the next purchases."""
    start = time.process_time()
    stages = run.stages if earlier is None else run.stages[-1:]
    if earlier is not None:
        run = run.model_copy(update={"train": run.train.model_copy(update={"start": str(earlier)})})
    before, epochs = earlier, []
    for stage in stages:
        place = folder / stage
        names = {"model": "model.safetensors", "history": "history.parquet", "config": "config.json"}
        outputs: dict[str, Any] = {key: place / name for key, name in names.items()}
        begin = before / stage if earlier is not None and before is not None else before
        given: dict[str, Any] = {}
        if begin is not None:
            given = {"start": begin / names["model"], "start_config": begin / names["config"]}
        train(run=run, stage=stage, seed=seed, **files, **given, code="", state=folder / "state", **outputs)
        epochs.append(best_epoch(outputs["history"]) + 1)
        before = place
    seconds = time.process_time() - start
    model = checkpoint.load(outputs["model"], outputs["config"]).model
    sequences = Sequences.read(files["sequences"])
    found = rank_users(model, sequences.of(np.flatnonzero(asked)), "test")
    return Trained(float(METRIC(found).mean()), seconds, epochs)


def main() -> None:
    """Train every day in both ways, print a line for each and the means, and write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks daily")
    parser.add_argument("--folder", type=Path, default=Path("results/sample"), help="results/<data set>")
    parser.add_argument("--model", default="decorec")
    parser.add_argument("--difference", type=json.loads, default={}, help="of the run, as in a configuration")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.3, help="of the interactions that the days have together")
    parser.add_argument("--every", type=int, help="calendar days of each slice, in place of --share")
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("daily.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine()
    print(machine)
    sections = {"model": {"name": options.model}, "train": {"patience": options.patience}}
    run = resolve({}, "described", merge(sections, options.difference))
    data, names = Sequences.read(options.folder / "sequences.parquet"), read_vocab(options.folder / "vocab.parquet")
    if data.timestamps is None:
        parser.error(f"{options.folder}: expected sequences with times, found none")
    cuts = mornings(data.timestamps, options.days, options.share, options.every)
    features = sorted((options.folder / "features").glob("*.safetensors"))
    days: list[Day] = []
    with tempfile.TemporaryDirectory(prefix="decorec-daily-") as temporary:
        earlier, seen = None, set(names)
        for day in range(options.days):
            folder = Path(temporary) / str(day)
            sequences, known, asked = morning(data, names, cuts[day], cuts[day + 1])
            if not asked.any():
                continue
            new = 0 if earlier is None else len(set(known) - seen)
            seen = set(known)
            files = training_files(run, sequences, known, features, folder)
            nothing = fitted(run, options.seed, files, folder / "nothing", None, asked)
            warm = nothing
            if earlier is not None:
                warm = fitted(run, options.seed, files, folder / "warm", earlier, asked)
            earlier = folder / ("nothing" if earlier is None else "warm")
            days.append(Day(day, len(known), new, int(asked.sum()), nothing, warm))
            print(
                f"day {day}: {len(known):6,} items ({new} new), {int(asked.sum()):6,} customers; from nothing NDCG@10 "
                f"{nothing.ndcg:.4f}, {nothing.seconds:7.1f} s {nothing.epochs}; warm {warm.ndcg:.4f}, "
                f"{warm.seconds:7.1f} s {warm.epochs}",
                flush=True,
            )
    _report(options, machine, days)


def _report(options: argparse.Namespace, machine: str, days: list[Day]) -> None:
    """Print means over the days after the first one, and write everything."""
    later = days[1:]
    weights = np.array([day.customers for day in later], dtype=float)
    gaps = np.array([day.warm.ndcg - day.nothing.ndcg for day in later])
    error = gaps.std(ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    for label in ("nothing", "warm"):
        each: list[Trained] = [getattr(day, label) for day in later]
        ndcg = float(np.average([one.ndcg for one in each], weights=weights))
        print(f"{label:<8} NDCG@10 {ndcg:.4f}, {sum(one.seconds for one in each):8.1f} s of processor time")
    print(f"warm - nothing, mean of {len(later)} days: {gaps.mean():+.4f} +- {error:.4f}")
    facts = {"folder": options.folder.name, "model": options.model, "seed": options.seed, "patience": options.patience}
    facts |= {"difference": options.difference, "every": options.every, "machine": machine}
    facts |= {"days": [asdict(day) for day in days]}
    write_text(options.output, json.dumps(facts, indent=2) + "\n")
