"""The sample shop tells the story of real data: its counts and its floors lie where those of real data sets lie."""

from __future__ import annotations

import numpy as np

from benchmarks._worlds import drawn
from benchmarks.sample import counts, measured
from decorec.config.datasets import SampleDataset
from decorec.data.sequences import Sequences

RANGES = {
    "length, mean": (6.7, 7.7),
    "length, median": (6, 6),
    "length, 99th percentile": (17, 26),
    "histories of 5": (0.3, 0.45),
    "interactions of the first 1 % of the items": (0.05, 0.105),
    "interactions of the first 10 % of the items": (0.31, 0.44),
    "Gini coefficient of the items": (0.38, 0.54),
    "repeats": (0.005, 0.015),
    "repeats of the last": (0.002, 0.008),
    "days with several purchases": (0.35, 0.8),
    "popularity, NDCG@10": (0.07, 0.13),
    "item-knn / popularity": (1.9, 2.8),
    "content-knn / popularity": (1.35, 2.9),
    "ease / popularity": (1.8, 3.2),
}
"""From the least to the most of Scientific, large H&M and Gift Cards (docs/explanation/sample-shop.md), with some room
for chance. The last four are of validation items; of a hundred and sixty items popularity finds more than of a
thousand."""


def test_counts_of_two_histories() -> None:
    """One item is bought four times of eight; one user repeats it at once and later, on two days of three."""
    items = np.array([0, 0, 1, 0, 2, 3, 0, 4], np.int32)
    days = np.array([5, 5, 7, 7, 8, 5, 6, 9])
    found = counts(Sequences(["a", "b"], np.array([0, 5, 8]), items, days * 86_400 + 60), 5)
    assert found["length, mean"] == found["length, median"] == 4 and found["histories of 5"] == 0.5
    assert found["interactions of the first 10 % of the items"] == 0.5
    assert np.isclose(found["Gini coefficient of the items"], 0.3)  # (-4 - 2 + 0 + 2 + 4 * 4) / (5 * 8)
    assert np.isclose(found["repeats"], 2 / 6) and np.isclose(found["repeats of the last"], 1 / 6)
    assert np.isclose(found["days with several purchases"], 2 / 6)
    assert np.isnan(counts(Sequences(["a"], np.array([0, 5]), items[:5]), 3)["days with several purchases"])


def test_counts_and_floors_lie_where_those_of_real_data_lie() -> None:
    shops = [measured(drawn(SampleDataset(source="sample", seed=seed))) for seed in range(3)]
    mean = {name: np.mean([shop[name] for shop in shops]) for name in RANGES}
    outside = {name: value for name, value in mean.items() if not RANGES[name][0] <= value <= RANGES[name][1]}
    assert not outside
    default = shops[0]
    assert 1 < default["content-knn / popularity"] < default["item-knn / popularity"] < 3, "neither tells everything"
