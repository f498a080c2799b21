"""The rows of every table."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from tests.support.traced.claims import claims
from tests.support.traced.neighbours import recall
from tests.support.traced.world import (
    METRICS,
    Row,
    World,
    against,
    aligned,
    interval,
    modes_of,
    permutation,
    spread,
    value,
)

STAGES = {"decorec": ("stage1", "stage2"), "sasrec": ("fit",)}
PREPARATION = (
    *("sample", "download", "ingest", "crawl", "features", "split", "atomic", "atomic-features-*"),
    *("cooccurrence", "cluster-*"),
)
"""Names of their measurements; those with an asterisk have one for each modality."""


def compared(world: World, table: str, column: str, paper: bool) -> Iterator[Row]:
    for metric in METRICS:
        for run in world.config["tables"][table]:
            mine, figures = world.figures(metric, "decorec"), world.figures(metric, run)
            row = {"dataset": world.dataset, "metric": metric, column: run, **spread(figures)}
            row["p_value"] = None if run == "decorec" else against(mine, figures)
            assert paper is False or world.dataset not in world.paper("main")["sasrec"]
            yield row | {"paper": None}


def main(world: World) -> Iterator[Row]:
    return compared(world, "main", "model", True)


def leaderboard(world: World) -> Iterator[Row]:
    runs = world.config["tables"]["main"]
    figures = {run: {metric: world.figures(metric, run) for metric in ("Hit@10", "NDCG@10")} for run in runs}
    hits = {run: figures[run]["Hit@10"] for run in runs}
    for place, run in enumerate(sorted(runs, key=lambda run: -hits[run].mean()), 1):
        row = spread(hits[run])
        yield {
            **{"dataset": world.dataset, "history": world.history, "place": place, "model": run},
            **{"users": hits[run].shape[1], "seeds": row["seeds"], "hit": row["mean"]},
            **{"ci_low": row["ci_low"], "ci_high": row["ci_high"], "ndcg": figures[run]["NDCG@10"].mean()},
            "p_value": None if run == "decorec" else against(hits["decorec"], hits[run]),
            **{"simple": False, "floor": None, "p_floor": None},  # no run of this workplace is one
        }


def fusion(world: World) -> Iterator[Row]:
    return compared(world, "fusion", "model", False)


def readings(world: World) -> Iterator[Row]:
    return compared(world, "readings", "variant", False)


def ablations(world: World) -> Iterator[Row]:
    return compared(world, "ablations", "variant", True)


def retrieval(world: World) -> Iterator[Row]:
    for metric in METRICS:
        full = world.figures(metric, "decorec", "cross")
        assert np.array_equal(full, world.figures(metric, "decorec")), "the full score is what was evaluated"
        for run in world.config["tables"]["retrieval"]:
            for mode in modes_of(world, run):
                figures = world.figures(metric, run, mode)
                row = {"dataset": world.dataset, "metric": metric, "run": run, "mode": mode, **spread(figures)}
                yield row | {"p_value": None if (run, mode) == ("decorec", "cross") else against(full, figures)}


def coldstart(world: World) -> Iterator[Row]:
    lengths = np.array([len(world.sequences[user]) - 2 for user in sorted(world.sequences)])
    for group, chosen in (("cold", world.cold), ("other", ~world.cold)):
        for metric in METRICS:
            base = world.figures(metric, "sasrec")[:, chosen]
            for run in world.config["tables"]["main"]:
                figures = world.figures(metric, run)[:, chosen]
                row = {"dataset": world.dataset, "group": group, "metric": metric, "model": run}
                row |= {"users": chosen.sum(), "least": lengths[chosen].min(), "most": lengths[chosen].max()}
                row |= spread(figures)
                gain = dict.fromkeys(("improvement_percent", "difference", "difference_low", "difference_high"))
                gain["p_value"] = None
                if run != "sasrec":
                    differences = figures.mean(axis=0) - base.mean(axis=0)
                    low, high = interval(differences)
                    gain = {"difference": differences.mean(), "difference_low": low, "difference_high": high}
                    gain["p_value"] = permutation(differences)
                    gain["improvement_percent"] = 100 * (row["mean"] / base.mean() - 1) if base.mean() else None
                yield row | gain


def beyond(world: World) -> Iterator[Row]:
    """What is recommended: every list once more, item by item."""
    names = pl.read_parquet(world.root / "vocab.parquet")["item"].to_list()
    users = sorted(world.sequences)
    training = [world.sequences[user][:-2] for user in users]
    counts = [sum(items.count(item) for items in training) for item in range(len(names))]
    owners = [sum(item in items for items in training) for item in range(len(names))]
    ranked = sorted(range(len(names)), key=lambda item: (-counts[item], item))
    tail = set(ranked[math.ceil(len(names) / 5) :])
    distances = {}
    for modality in ("text", "image"):
        x = aligned(world, modality, names).astype(float)
        distances[modality] = 1 - x @ x.T / np.outer(*[np.linalg.norm(x, axis=1)] * 2)

    def of_user(user: str, items: list[int]) -> Row:
        pairs = [(one, other) for one in items for other in items if one < other]
        past = world.sequences[user][:-1]
        row = {
            "Popularity": statistics.fmean(counts[item] for item in items),
            "PopularityShare": statistics.fmean(counts[item] for item in items) / sum(counts),
            "Novelty": statistics.fmean(-math.log2(max(owners[item], 1) / len(users)) for item in items),
            "TailShare": statistics.fmean(item in tail for item in items),
            **{f"ILD-{name}": statistics.fmean(found[pair] for pair in pairs) for name, found in distances.items()},
        }
        assert world.history == "kept" or not set(items) & set(past)
        return row | ({"Repeats": statistics.fmean(item in past for item in items)} if world.history == "kept" else {})

    def of_seed(run: str, seed: int) -> tuple[Row, list[Row]]:
        frame = pl.read_parquet(world.place(run, seed) / "lists.parquet").filter(history=world.history)
        lists = dict(zip(frame["user"], (items[:10] for items in frame["items"].to_list()), strict=True))
        assert all(len(items) == len(set(items)) == 10 for items in lists.values())
        times = sorted(sum(item in items for items in lists.values()) for item in range(len(names)))
        apart = sum(abs(one - other) for one in times for other in times)
        together = {
            "Coverage": sum(number > 0 for number in times) / len(names),
            "Gini": apart / (2 * len(names) * sum(times)),  # the mean difference of two items over twice the mean
        }
        return together, [of_user(user, lists[user]) for user in users]

    runs = world.config["tables"]["main"]
    found = {run: [of_seed(run, seed) for seed in world.seeds] for run in runs}
    for metric in found[runs[0]][0][0]:
        for run in runs:
            values = np.array([[together[metric]] for together, _ in found[run]])
            row = spread(values) | {"ci_low": None, "ci_high": None}
            yield {"dataset": world.dataset, "metric": f"{metric}@10", "model": run, **row}
    for metric in found[runs[0]][0][1][0]:
        for run in runs:
            values = np.array([[row[metric] for row in rows] for _, rows in found[run]])
            yield {"dataset": world.dataset, "metric": f"{metric}@10", "model": run, **spread(values)}


def colditems(world: World) -> Iterator[Row]:
    counts = np.bincount([item for sequence in world.sequences.values() for item in sequence[:-2]])
    items = len({item for sequence in world.sequences.values() for item in sequence})
    counts = np.concatenate([counts, np.zeros(items - len(counts))])
    cold = np.array([counts[world.sequences[user][-1]] == 0 for user in sorted(world.sequences)])
    groups = [("cold", "all", cold), ("cold", "cold", cold), ("other", "all", ~cold)] if cold.any() else []
    for targets, candidates, chosen in groups:
        if candidates == "cold" and world.history == "masked":
            continue
        for metric in METRICS:
            for run in world.config["tables"]["main"]:
                ranked = replace(world, history="cold") if candidates == "cold" else world
                figures = ranked.figures(metric, run, chosen=chosen)
                row = {"dataset": world.dataset, "targets": targets, "candidates": candidates, "metric": metric}
                row |= {"model": run, "users": chosen.sum(), "cold_items": int((counts == 0).sum())}
                yield row | spread(figures)


def newitems(world: World) -> Iterator[Row]:
    """The items are drawn as the step says; every rank is in the file of its run and seed."""
    tables = world.config["tables"]
    items = len({item for sequence in world.sequences.values() for item in sequence})
    held = max(1, round(tables.get("held_out", 0.05) * items))
    end = "" if world.history == "kept" else "_masked"
    for targets, candidates in (("new", "all"), ("new", "new"), ("known", "all"), ("known", "known")):
        for metric in METRICS:
            for run in tables["newitems"]:
                figures = []
                for seed in world.seeds:
                    frame = pl.read_parquet(world.place(run, seed) / "newitems.parquet").sort("user")
                    chosen = frame.filter(mode=f"{targets} targets, {candidates} items")
                    assert all((place >= items - held) == (targets == "new") for place in chosen["target"])
                    counts = chosen.select(f"higher{end}", f"equal{end}").iter_rows()
                    figures.append([value(metric, higher, equal) for higher, equal in counts])
                row = {"dataset": world.dataset, "targets": targets, "candidates": candidates, "metric": metric}
                row |= {"model": run, "users": len(figures[0]), "cold_items": held}
                yield row | spread(np.array(figures))


def sensitivity(knob: str) -> Callable[[World], Iterator[Row]]:
    def rows(world: World) -> Iterator[Row]:
        runs, few = SENSITIVITY[knob], world.config["tables"]["sensitivity_seeds"]
        for metric in METRICS:
            for number, run in runs.items():
                places = [world.place(run, seed) for seed in world.seeds[:few]]
                measured = [json.loads((place / "metrics.json").read_text()) for place in places]
                means = [found["valid"][world.history][metric] for found in measured]
                tested = world.figures(metric, run, seeds=few).mean(axis=1)
                assert np.allclose([found["test"][world.history][metric] for found in measured], tested)
                std = statistics.stdev(means) if len(means) > 1 else None
                names = {"dataset": world.dataset, "split": "valid", "metric": metric, "value": number, "run": run}
                nothing = {"ci_low": None, "ci_high": None, "p_value": None}
                yield names | {"mean": statistics.fmean(means), "std": std, "seeds": len(means)} | nothing
        for metric in METRICS:
            full = world.figures(metric, "decorec", seeds=few)
            for number, run in runs.items():
                figures = world.figures(metric, run, seeds=few)
                names = {"dataset": world.dataset, "split": "test", "metric": metric, "value": number, "run": run}
                yield names | spread(figures) | {"p_value": None if run == "decorec" else against(full, figures)}

    return rows


SENSITIVITY = {
    "alpha": {0.25: "alpha-0-25", 1.0: "decorec"},
    "clusters": {0.1: "decorec", 0.3: "clusters-0-3"},
}
"""Table -> value -> run of the workplace whose tables are traced."""


def dataset_statistics(world: World) -> Iterator[Row]:
    users, interactions = len(world.sequences), sum(map(len, world.sequences.values()))
    items = len({item for sequence in world.sequences.values() for item in sequence})
    assert items == len(pl.read_parquet(world.root / "vocab.parquet"))
    rows = interactions - users
    yield {
        "dataset": world.dataset,
        "users": users,
        "items": items,
        "interactions": interactions,
        "mean_length": interactions / users,
        "sparsity_percent": 100 * (1 - interactions / (users * items)),
        "as_paper_users": users + 1,
        "as_paper_items": items + 1,
        "as_paper_interactions": rows,
        "as_paper_sparsity_percent": 100 * (1 - rows / ((users + 1) * (items + 1))),
        **dict.fromkeys(("paper_items", "paper_interactions", "paper_sparsity_percent")),
        **leave_one_out(world),
    }


def leave_one_out(world: World) -> Row:
    """What the table of statistics says of the split."""
    frame = pl.read_parquet(world.root / "sequences.parquet")
    walks, times = frame["items"].to_list(), frame["timestamps"].to_list()
    trained = {item for walk in walks for item in walk[:-2]}
    ordered = sorted(time for walk in times for time in walk)
    low = int(0.9 * (len(ordered) - 1))
    point = ordered[low] + (0.9 * (len(ordered) - 1) - low) * (ordered[low + 1] - ordered[low])
    share = 100 / len(walks)
    return {
        "protocol": "leave-one-out",
        "training": sum(len(walk) - 2 for walk in walks),
        "cold_items": len({item for walk in walks for item in walk} - trained),
        "validation_targets": len(walks),
        "test_targets": len(walks),
        "cold_percent": share * sum(walk[-1] not in trained for walk in walks),
        "early_percent": share * sum(walk[-1] < point for walk in times),
        "same_day_percent": share * sum(walk[-1] // 86_400 == walk[-2] // 86_400 for walk in times),
    }


def cost(world: World) -> Iterator[Row]:
    folder = world.folder / "results" / "benchmarks" / world.dataset

    def measured(files: list[Path]) -> Row:
        rows = [row for file in files for row in csv.DictReader(file.open(), delimiter="\t")]
        seconds = [float(row["s"]) for row in rows]
        return {
            "seeds": len(rows),
            "seconds": sum(seconds) / len(rows),
            "seconds_std": statistics.stdev(seconds) if len(rows) > 1 else None,
            "processor_seconds": sum(float(row["cpu_time"]) for row in rows) / len(rows),
            "peak_memory_mb": max(float(row["max_rss"]) for row in rows),
        }

    for step in PREPARATION:
        for file in sorted(folder.glob(f"{step}.tsv")):
            row = {"dataset": world.dataset, "run": "", "step": file.stem, **measured([file])}
            yield row | {"parameters": None, "trainable_parameters": None}
    for run in world.config["tables"]["main"]:
        for step in (*STAGES[run], "evaluate"):
            row = {"dataset": world.dataset, "run": run, "step": step}
            row |= measured([folder / "runs" / run / f"seed-{seed}" / f"{step}.tsv" for seed in world.seeds])
            row |= {"parameters": None, "trainable_parameters": None}
            if step != "evaluate":
                arrays = load_file(world.place(run, world.seeds[0]) / step / "model.safetensors")
                sizes = {name: array.size for name, array in arrays.items() if name.startswith("model.")}
                frozen = sum(size for name, size in sizes.items() if step == "stage2" and ".adapters." in name)
                row |= {"parameters": sum(sizes.values()), "trainable_parameters": sum(sizes.values()) - frozen}
            yield row


def curves(world: World) -> Iterator[Row]:
    for run, stage in (("sasrec", "fit"), ("decorec", "stage1")):
        places = [world.place(run, seed) / stage / "history.parquet" for seed in world.seeds]
        histories = [pl.read_parquet(place).rows(named=True) for place in places]
        for metric in ("Hit@10", "NDCG@10"):
            for epoch in range(max(map(len, histories))):
                reached = [history[epoch] for history in histories if len(history) > epoch]
                values = [row[metric] for row in reached]
                yield {
                    **{"dataset": world.dataset, "run": run, "stage": stage, "metric": metric, "epoch": epoch},
                    "mean": statistics.fmean(values),
                    "std": statistics.stdev(values) if len(values) > 1 else None,
                    "seeds": len(values),
                    "best": sum(row["best"] for row in reached),
                }


def gradients(world: World) -> Iterator[Row]:
    for run in world.config["tables"]["gradients"]:
        frame = pl.read_parquet(world.place(run, world.seeds[0]) / "gradients.parquet")
        for row in frame.rows(named=True):
            yield {"dataset": world.dataset, "run": run, "seed": world.seeds[0], **row}


def both(table: Callable[[World], Iterator[Row]]) -> Callable[[World], Iterator[Row]]:
    """The rows with the history kept, then those with it masked."""

    def rows(world: World) -> Iterator[Row]:
        for history in ("kept", "masked"):
            yield from ({**row, "history": history} for row in table(replace(world, history=history)))

    return rows


TABLES: dict[str, Callable[[World], Iterator[Row]]] = {
    "main": both(main),
    "ablations": both(ablations),
    "fusion": both(fusion),
    "readings": both(readings),
    "retrieval": both(retrieval),
    "leaderboard": both(leaderboard),
    "coldstart": both(coldstart),
    "beyond": both(beyond),
    "colditems": both(colditems),
    "newitems": both(newitems),
    "recall": recall,
    "statistics": dataset_statistics,
    "cost": cost,
    "claims": both(claims),
    "curves": curves,
    "gradients": gradients,
    **{knob: both(sensitivity(knob)) for knob in SENSITIVITY},
}
"""Table -> its rows, each cell computed here."""
