"""Every number of every table once more, plainly, from the files that it is defined on.

Nothing here is shared with the package but the names of things in print. What is random (resamples of users, sign
patterns) is drawn from the seed that docs/explanation/protocol.md gives, so that the figures have to be the same.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse
import scipy.stats
import yaml
from safetensors.numpy import load_file

from decorec.tables.labels import short

METRICS = ("Hit@10", "Hit@50", "NDCG@10", "NDCG@50", "MRR@10", "MRR@50")
STAGES = {"decorec": ("stage1", "stage2"), "sasrec": ("fit",)}
PREPARATION = (
    *("sample", "download", "ingest", "crawl", "features", "split", "atomic", "atomic-features-*"),
    *("cooccurrence", "cluster-*"),
)
"""Names of their measurements; those with an asterisk have one for each modality."""
VIEWS = ("interest", "modal-similarity", "modality-interest")
Row = dict[str, Any]


def value(metric: str, higher: int, equal: int) -> float:
    """One user's figure: the mean over the places that the target and the items with its score share."""
    name, cutoff = metric.split("@")
    total = 0.0
    for rank in range(higher + 1, min(higher + equal + 1, int(cutoff)) + 1):
        total += {"Hit": 1.0, "NDCG": 1 / math.log2(rank + 1), "MRR": 1 / rank}[name]
    return total / (equal + 1)


def interval(users: np.ndarray, resamples: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap of the mean over users."""
    drawn = np.random.default_rng(0).integers(0, len(users), size=(resamples, len(users)))
    low, high = np.quantile(users[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_of_runs(better: np.ndarray, worse: np.ndarray, resamples: int = 1000) -> tuple[float, float]:
    """The same of the difference of two [S, U], with the seeds of each resampled as well."""
    generator = np.random.default_rng(0)
    users = generator.integers(0, better.shape[1], size=(resamples, better.shape[1]))
    parts = []
    for figures in (better, worse):
        seeds = generator.integers(0, len(figures), size=(resamples, len(figures)))
        parts.append([figures[np.ix_(some, drawn)].mean() for some, drawn in zip(seeds, users, strict=True)])
    low, high = np.quantile(np.array(parts[0]) - np.array(parts[1]), [0.025, 0.975])
    return float(low), float(high)


def permutation(differences: np.ndarray, patterns: int = 10_000) -> float:
    """Share of random sign patterns, the observed one included, with a sum at least as far from zero."""
    users = len(differences)
    bits = np.random.default_rng(0).integers(0, 256, size=(patterns, -(-users // 8)), dtype=np.uint8)
    signs = np.where(np.unpackbits(bits, axis=1, count=users), 1.0, -1.0)
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # sums in another order differ in last bits
    return float((np.abs(signs @ differences) >= observed).sum() + 1) / (patterns + 1)


def holm(p_values: list[float]) -> list[float]:
    """Corrected over all of them."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for smaller, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - smaller) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected


@dataclass
class World:
    """The results of one data set."""

    folder: Path
    config: dict[str, Any]
    dataset: str = "sample"
    history: str = "kept"
    seen: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "results" / self.dataset

    @property
    def seeds(self) -> list[int]:
        return self.config["seeds"]

    def place(self, run: str, seed: int) -> Path:
        return self.root / "runs" / run / f"seed-{seed}"

    def places(self, run: str, mode: str | None = None, seeds: int | None = None) -> np.ndarray:
        """[S, U, 2] items scored higher and equal, users in ascending order of their ids; of its history."""
        end = {"kept": "", "masked": "_masked", "cold": "_cold"}[self.history]
        rows = []
        for seed in self.seeds[:seeds]:
            frame = pl.read_parquet(self.place(run, seed) / ("ranks.parquet" if mode is None else "modes.parquet"))
            rows.append(
                (frame if mode is None else frame.filter(mode=mode))
                .sort("user")
                .select(f"higher{end}", f"equal{end}")
                .to_numpy()
            )
        return np.stack(rows)

    def figures(
        self, metric: str, run: str, mode: str | None = None, seeds: int | None = None, chosen: np.ndarray | None = None
    ) -> np.ndarray:
        """[S, U] figure of each user, or of those ``chosen`` [U], per seed."""
        places = self.places(run, mode, seeds)
        places = places if chosen is None else places[:, chosen]
        return np.vectorize(lambda higher, equal: value(metric, higher, equal))(places[..., 0], places[..., 1])

    @cached_property
    def sequences(self) -> dict[str, list[int]]:
        frame = pl.read_parquet(self.root / "sequences.parquet")
        return dict(zip(frame["user"], frame["items"].to_list(), strict=True))

    @cached_property
    def cold(self) -> np.ndarray:
        """[U] whether the user is among the 40 % with the fewest training interactions."""
        lengths = [len(self.sequences[user]) - 2 for user in sorted(self.sequences)]
        most = sorted(lengths)[math.ceil(0.4 * len(lengths)) - 1]
        return np.array(lengths) <= most

    def paper(self, table: str) -> dict[str, Any]:
        text = (self.folder / "decorec" / "tables" / "paper.yaml").read_text()
        return yaml.safe_load(text)[table]["rows"]


def spread(figures: np.ndarray) -> Row:
    """Mean, deviation over seeds, number of seeds, interval; of [S, U]."""
    per_seed = [float(np.mean(seed)) for seed in figures]
    low, high = interval(figures.mean(axis=0))
    return {
        "mean": statistics.fmean(per_seed),
        "std": statistics.stdev(per_seed) if len(per_seed) > 1 else None,
        "seeds": len(per_seed),
        "ci_low": low,
        "ci_high": high,
    }


def against(reference: np.ndarray, other: np.ndarray) -> float:
    """p of the paired test of two [S, U]."""
    return permutation(reference.mean(axis=0) - other.mean(axis=0))


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


def modes_of(world: World, run: str) -> list[str]:
    frame = pl.read_parquet(world.place(run, world.seeds[0]) / "modes.parquet")
    return frame["mode"].unique(maintain_order=True).to_list()


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


def aligned(world: World, modality: str, names: list[str]) -> np.ndarray:
    """[I, width] features of the items ``names``, in that order."""
    arrays = load_file(world.root / "features" / f"{modality}.safetensors")
    order = {item: row for row, item in enumerate(arrays["items"].tobytes().decode().split("\n"))}
    return arrays["x"][[order[name] for name in names]]


def nearest(scores: np.ndarray, possible: np.ndarray) -> dict[tuple[int, int], tuple[float, float]]:
    """(item, other) -> place of the other among the items near the first, the mean of a tie, and its score."""
    found = {}
    for item in range(len(scores)):
        others = np.flatnonzero(possible[item])
        near = scores[item, others]
        for other, score in zip(others.tolist(), near.tolist(), strict=True):
            place = 1 + (near > score).sum() + ((near == score).sum() - 1) / 2
            if place <= 200:
                found[item, other] = (float(place), score)
    return found


def predictions(world: World, near: dict[tuple[int, int], tuple[float, float]]) -> list[tuple[float, float, str, int]]:
    """(place, minus score, user, item) over all users, in order."""
    users = list(world.sequences)
    histories = [set(world.sequences[user][:-1]) for user in users]
    others: dict[int, list[tuple[int, float, float]]] = {}
    for (item, other), (place, score) in near.items():
        others.setdefault(item, []).append((other, place, score))
    best: dict[tuple[int, int], tuple[float, float]] = {}
    for number, history in enumerate(histories):
        for other, place, score in (near for item in history for near in others.get(item, [])):
            if other not in history:
                best[number, other] = min(best.get((number, other), (place, -score)), (place, -score))
    return sorted((*first, users[number], item) for (number, item), first in best.items())


def kept(found: list[tuple[float, float, str, int]], count: int) -> Iterator[tuple[float, str, int]]:
    """(share, user, item): whole ones, and a share each of those that tie for the last of ``count``."""
    for tie in ([*group] for _, group in groupby(found, key=lambda row: row[:2])):
        share = min(1.0, count / len(tie))
        yield from ((share, user, item) for _, _, user, item in tie)
        count -= len(tie)
        if count <= 0:
            return


def recall(world: World) -> Iterator[Row]:
    graph = scipy.sparse.load_npz(world.root / "graph" / "cooccurrence.npz").toarray()
    features = []
    names = pl.read_parquet(world.root / "vocab.parquet")["item"].to_list()
    for modality in ("text", "image"):
        x = aligned(world, modality, names)
        features.append(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
    both = np.concatenate(features, axis=1)
    cosine = both @ both.T / 2
    views = [nearest(graph.astype(float), graph > 0), nearest(cosine, ~np.eye(len(cosine), dtype=bool))]
    one, two = views
    views.append({pair: (max(one[pair][0], two[pair][0]), one[pair][1]) for pair in one if pair in two})
    wanted = 10 * len(world.sequences)
    found = [predictions(world, near) for near in views]
    made = min(wanted, *map(len, found))
    for view, predicted in zip(VIEWS, found, strict=True):
        hits = sum(share for share, user, item in kept(predicted, made) if world.sequences[user][-1] == item)
        row = {"dataset": world.dataset, "history": "masked", "view": view, "users": len(world.sequences), "hits": hits}
        nothing = dict.fromkeys(("paper_hits", "paper_predictions", "paper_precision"))
        yield row | {"predictions": made, "precision": hits / made} | nothing


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


SPANS = {f"{short('sasrec')} (ids alone) is best around epoch 5": (4.0, 6.0)}
"""Claim -> what it says, where that is of no data set."""


def claims(world: World) -> Iterator[Row]:
    """Every statement with its effect in every metric, or nothing where a run is missing."""
    tables = world.config["tables"]
    for kind, statements in _claims(world, *(tables[name] for name in ("main", "ablations", "fusion", "retrieval"))):
        rows: list[Row] = []
        for text, in_paper, per_metric in statements:
            for metric, measured in per_metric.items():
                names = {"dataset": world.dataset, "kind": kind, "claim": text, "metric": metric, "in_paper": in_paper}
                columns = dict(zip(("difference", "ci_low", "ci_high", "p_value"), measured, strict=True))
                low, high = SPANS.get(text, (None, None))  # the paper does not have the sample
                rows.append({**names, **columns, "paper": low, "paper_high": high})
        tested = [row for row in rows if row["p_value"] is not None]
        for row, p in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
            row["p_holm"] = p
        for row in rows:
            if row["p_value"] is None:
                yield row | {"p_holm": None, "verdict": "not testable here"}
                continue
            apart = row["ci_high"] < 0 if row["paper"] is None else row["ci_high"] < 4 or row["ci_low"] > 6
            verdict = "contradicted" if apart else "undecided"
            if row["difference"] > 0 and row["p_holm"] <= 0.05:
                verdict = "reproduced"
            yield row | {"verdict": verdict if row["in_paper"] else ""}


Measured = tuple[Any, Any, Any, Any]
Statement = tuple[str, bool, dict[str, Measured]]


def _claims(
    world: World, main: list[str], ablations: list[str], fusion: list[str], retrieval: list[str]
) -> Iterator[tuple[str, list]]:
    everyone = np.ones(len(world.sequences), dtype=bool)
    us = short("decorec")

    def paired(one: tuple[str, str | None], two: tuple[str, str | None], users: np.ndarray) -> dict[str, Measured]:
        modes = {(run, mode) for run in retrieval for mode in modes_of(world, run)}
        known = {(run, None) for run in (*main, *ablations, *fusion)} | modes
        if not {one, two} <= known:
            return dict.fromkeys(METRICS, (None,) * 4)
        found = {}
        for metric in METRICS:
            better, worse = (world.figures(metric, *run)[:, users] for run in (one, two))
            differences = better.mean(axis=0) - worse.mean(axis=0)
            found[metric] = (differences.mean(), *interval_of_runs(better, worse), permutation(differences))
        return found

    def versus(pairs: list[tuple[str, str, str]]) -> list[tuple[str, bool, dict[str, Measured]]]:
        return [(text, True, paired((one, None), (two, None), everyone)) for text, one, two in pairs]

    modal = [
        (f"{short(one)} beats {short(two)}", one, two)
        for one in ("unisrec", "missrec")
        for two in ("sasrec", "bert4rec")
    ]
    for kind, runs in (("main", main), ("ablations", ablations)):
        theirs = [name for name in world.paper(kind) if name != "decorec"]
        ours = [run for run in runs if run != "decorec"]
        yield (
            kind,
            [
                (f"{us} beats {short(run)}", run in theirs, paired(("decorec", None), (run, None), everyone))
                for run in (*ours, *(name for name in theirs if name not in ours))
            ],
        )
        if kind == "main":
            yield "modal", versus(modal)
    frame, views = pl.read_parquet(world.root / "recall.parquet"), ("interest", "modal-similarity")
    hits = {view: frame.filter(view=view)["hits"].to_numpy().astype(float) for view in VIEWS}
    printed = ("Interest (co-occurrence)", "Modal similarity (text and picture)")
    found = []
    for view, name in zip(views, printed, strict=True):
        differences = hits["modality-interest"] - hits[view]
        measured = (differences.mean(), *interval(differences), permutation(differences))
        found.append((f"Both at once finds more than {name} alone", True, {"hits per user": measured}))
    if world.history == "masked":  # it predicts no item of the history
        yield "recall", found
    else:  # of trainings, whose best epochs are chosen with the history kept
        yield "convergence", _best_epochs(world)
        nothing = [dict.fromkeys((f"{sign}cosine", f"{sign}cosine_apart"), (None,) * 4) for sign in ("-", "")]
        parts = "gradients of ids and modalities"
        texts = (f"At first the {parts} oppose each other", f"The {parts} agree more by step 50")
        yield "gradients", [(text, True, none) for text, none in zip(texts, nothing, strict=True)]  # one seed
    modalities, linear = "no-collaborative", "linear-adapter-no-collaborative"
    fused = [
        (f"By modalities alone, {modalities} beats naive-fusion", modalities, "naive-fusion"),
        (f"By ids alone, {short('sasrec')} beats naive-fusion", "sasrec", "naive-fusion"),
        (f"{modalities} beats {linear}", modalities, linear),
    ]
    yield "fusion", versus(fused)
    full, apart = ("decorec", "cross"), ("no-cross", "intra")
    lesser = [(f"{us}: cross beats {mode}", paired(full, ("decorec", mode), everyone)) for mode in MODES]
    lesser.append((f"{us}: cross beats {short('no-cross')}: intra", paired(full, apart, everyone)))
    yield "modes", [(text, True, measured) for text, measured in lesser]
    single = [
        (f"By {mode} alone, {us} beats {mode}-only", paired(("decorec", mode), (f"{mode}-only", mode), everyone))
        for mode in ("text", "image")
    ]
    yield "single", [(text, True, measured) for text, measured in single]
    cold = [
        (f"On cold users {us} beats {short(run)}", paired(("decorec", None), (run, None), world.cold))
        for run in ("sasrec", "unisrec", "missrec")
    ]
    cold.append((f"Cold users gain more over {short('sasrec')} than the others", _groups(world)))
    yield "cold", [(text, True, measured) for text, measured in cold]


MODES = ("intra", "text", "image")


def _best_epochs(world: World) -> list[tuple[str, bool, dict[str, Measured]]]:
    """Best epochs from 1, one per seed: t-tests written out; without any spread p is 1."""

    def best(run: str, stage: str) -> list[int]:
        frames = [pl.read_parquet(world.place(run, seed) / stage / "history.parquet") for seed in world.seeds]
        return [frame["best"].to_list().index(True) + 1 for frame in frames]

    ids, modalities = best("sasrec", "fit"), best("decorec", "stage1")
    mean, error, freedom = statistics.fmean(ids), statistics.stdev(ids) / math.sqrt(len(ids)), len(ids) - 1
    around: Measured = (mean, mean, mean, 1.0)
    if error:
        reach = scipy.stats.t.ppf(0.975, freedom) * error
        p = max(scipy.stats.t.sf(distance / error, freedom) for distance in (mean - 4, 6 - mean))
        around = (mean, mean - reach, mean + reach, p)
    before = _welch(np.array(modalities), np.array(ids))
    us, them = short("decorec"), short("sasrec")
    return [
        (f"{them} (ids alone) is best around epoch 5", True, {"best epoch": around}),
        (f"{them} is best before stage 1 of {us} (modalities alone)", True, {"best epoch": before}),
    ]


def _groups(world: World) -> dict[str, Measured]:
    """Welch's test of the gains of two groups of users, written out."""
    found: dict[str, Measured] = {}
    for metric in METRICS:
        gains = (world.figures(metric, "decorec") - world.figures(metric, "sasrec")).mean(axis=0)
        found[metric] = _welch(gains[world.cold], gains[~world.cold])
    return found


def _welch(one: np.ndarray, two: np.ndarray) -> Measured:
    """Difference of two means, its interval, and p; without any spread p is 1."""
    difference = one.mean() - two.mean()
    parts = [group.var(ddof=1) / len(group) for group in (one, two)]
    if len(set(one)) == len(set(two)) == 1:
        return difference, difference, difference, 1.0
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(p**2 / (len(g) - 1) for p, g in zip(parts, (one, two), strict=True))
    reach = scipy.stats.t.ppf(0.975, freedom) * error
    p = 2 * scipy.stats.t.sf(abs(difference) / error, freedom)
    return difference, difference - reach, difference + reach, p


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
