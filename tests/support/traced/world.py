"""What every table is made from: the results of a data set, figures of users, intervals and tests."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from safetensors.numpy import load_file

METRICS = ("Hit@10", "Hit@50", "NDCG@10", "NDCG@50", "MRR@10", "MRR@50")
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


def modes_of(world: World, run: str) -> list[str]:
    frame = pl.read_parquet(world.place(run, world.seeds[0]) / "modes.parquet")
    return frame["mode"].unique(maintain_order=True).to_list()


def aligned(world: World, modality: str, names: list[str]) -> np.ndarray:
    """[I, width] features of the items ``names``, in that order."""
    arrays = load_file(world.root / "features" / f"{modality}.safetensors")
    order = {item: row for row, item in enumerate(arrays["items"].tobytes().decode().split("\n"))}
    return arrays["x"][[order[name] for name in names]]
