"""How far the sample shop is like real data sets: its counts, and what floors reach on validation items.

Prints a table (Markdown) with a column for each data set that the workflow has prepared, as far as the graph. No model
is trained and no test item is ranked. With --drawn, one more column has the means over so many sample shops, drawn with
the seeds 0, 1, 2, ... and compared without their pictures: content-kNN knows texts alone there.

    python -m benchmarks sample results/sample results/scientific results/hm-large [--drawn 6]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._worlds import World, drawn, prepared
from decorec.config.datasets import SampleDataset
from decorec.config.runs import resolve
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.evaluation.list_metrics import gini
from decorec.evaluation.rank_metrics import parse_metric
from decorec.models.registry import build

__all__ = ["counts", "main", "reached"]

FLOORS = ("popularity", "item-knn", "content-knn", "ease")
DAY = 86_400


def main() -> None:
    """Measure the data sets and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks sample")
    parser.add_argument("folders", type=Path, nargs="*", help="results/<data set>")
    parser.add_argument("--drawn", type=int, default=0, help="number of sample shops to draw")
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = {folder.name: measured(prepared(folder)) for folder in options.folders}
    shops = [measured(drawn(SampleDataset(source="sample", seed=seed))) for seed in range(options.drawn)]
    if shops:
        columns[f"{len(shops)} drawn"] = {name: float(np.mean([shop[name] for shop in shops])) for name in shops[0]}
    print("| " + " | ".join(["", *columns]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in next(iter(columns.values()), {}):
        print("| " + " | ".join([name, *(_printed(column[name]) for column in columns.values())]) + " |")


def measured(world: World) -> dict[str, float]:
    """Everything that the table says of a data set."""
    found = counts(world.sequences, world.item_data.item_count)
    floors = reached(world)
    found |= {f"{name}, NDCG@10": value for name, value in floors.items()}
    return found | {f"{name} / popularity": floors[name] / floors["popularity"] for name in FLOORS[1:]}


def counts(sequences: Sequences, items: int) -> dict[str, float]:
    """Sizes, lengths of histories, popularity of the items, repeats, days with several purchases (nan: no times).

    Popularity: share of the interactions that the most popular items have, and the Gini coefficient. Repeats: share of
    the interactions but each user's first whose item the user had before, and whose item is the last one.
    """
    lengths, found = sequences.lengths, sequences.items
    times = np.sort(sequences.counts(items))[::-1]
    user = np.repeat(np.arange(len(lengths)), lengths)
    known = len(np.unique(user * items + found))
    later = len(found) - len(lengths)
    same_user = np.diff(user) == 0
    return {
        "users": len(lengths),
        "items": items,
        "interactions": len(found),
        "interactions per item": len(found) / items,
        "length, mean": float(lengths.mean()),
        "length, median": float(np.median(lengths)),
        "length, 99th percentile": float(np.quantile(lengths, 0.99)),
        "histories of 5": float(np.mean(lengths == 5)),
        "interactions of the first 1 % of the items": float(times[: max(1, round(0.01 * items))].sum() / len(found)),
        "interactions of the first 10 % of the items": float(times[: max(1, round(0.1 * items))].sum() / len(found)),
        "Gini coefficient of the items": gini(found, items),
        "repeats": (len(found) - known) / later,
        "repeats of the last": float(np.sum(same_user & (np.diff(found) == 0)) / later),
        "days with several purchases": _busy_days(user, sequences.timestamps),
    }


def _busy_days(user: npt.NDArray[np.int64], times: npt.NDArray[np.int64] | None) -> float:
    """Share of the days on which a user bought that have more than one interaction; nan where times are unknown."""
    if times is None:
        return float("nan")
    on_one_day = np.unique(np.stack([user, times // DAY]), axis=1, return_counts=True)[1]
    return float(np.mean(on_one_day > 1))


def reached(world: World) -> dict[str, float]:
    """Validation NDCG@10 of each floor with its default values, history kept."""
    metric, training = parse_metric("NDCG@10"), world.sequences.training()
    found = {}
    for name in FLOORS:
        model = build(resolve({}, "described", {"model": {"name": name}}), world.item_data, "fit")
        model.observe(training)
        found[name] = float(metric(rank_users(model, world.sequences, "valid")).mean())
    return found


def _printed(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.4f}" if value < 1 else f"{value:.2f}"
