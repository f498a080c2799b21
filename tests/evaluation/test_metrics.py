"""Metrics of one true item, by hand and against an independent library."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from decorec.errors import DecorecError
from decorec.evaluation.metrics import METRICS, parse_metric
from decorec.evaluation.rank_metrics import RANK_METRICS, Metric
from decorec.evaluation.ranking import ranks

PEER = {"Hit": "hit_rate", "NDCG": "ndcg", "MRR": "mrr"}
HAND = np.array([1.0, 10.0, 11.0, 50.0, 51.0])


def value(metric: str, rank: np.ndarray = HAND) -> float:
    return float(parse_metric(metric)(rank).mean())


def log_gain(*positions: int) -> float:
    return sum(1 / math.log2(position + 1) for position in positions)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("Hit@1", 1 / 5),
        ("Hit@10", 2 / 5),
        ("Hit@11", 3 / 5),
        ("Hit@50", 4 / 5),
        ("Hit@51", 5 / 5),
        ("NDCG@10", (1 + 1 / math.log2(11)) / 5),
        ("NDCG@11", log_gain(1, 10, 11) / 5),
        ("NDCG@50", log_gain(1, 10, 11, 50) / 5),
        ("NDCG@51", log_gain(1, 10, 11, 50, 51) / 5),
        ("MRR@10", (1 + 1 / 10) / 5),
        ("MRR@50", (1 + 1 / 10 + 1 / 11 + 1 / 50) / 5),
        ("MRR@51", (1 + 1 / 10 + 1 / 11 + 1 / 50 + 1 / 51) / 5),
    ],
)
def test_five_users_by_hand(metric: str, expected: float) -> None:
    assert value(metric) == pytest.approx(expected, abs=1e-15)


def test_at_one_all_metrics_are_equal() -> None:
    rank = np.random.default_rng(0).integers(2, 9, size=500) / 2  # 1, 1.5, 2, ...
    rank[:40] = 1.0
    values = [parse_metric(f"{name}@1")(rank) for name in METRICS]
    assert 0 < values[0].mean() < 1
    for other in values[1:]:
        np.testing.assert_array_equal(values[0], other)


def test_a_constant_model_does_not_hit() -> None:
    """All ranks are (N + 1) / 2: within k / N of the chance level for short lists, and never 1."""
    items = 400
    rank = ranks(torch.zeros(items, items), torch.arange(items)).numpy()
    for k in (1, 10, 50):
        assert abs(value(f"Hit@{k}", rank) - k / items) <= k / items
        assert value(f"NDCG@{k}", rank) <= k / items
    assert value("Hit@400", rank) == 1.0


@pytest.mark.parametrize(("levels", "k"), [(200, 10), (200, 50), (100, 50), (100_000, 10)])
def test_random_scores_hit_by_chance_with_ties(levels: int, k: int) -> None:
    """Scores without information, in ``levels`` values: Hit@k is about k / N whether or not items tie."""
    generator = torch.Generator().manual_seed(levels + k)
    users, items = 20_000, 200
    scores = torch.randint(0, levels, (users, items), generator=generator).float()
    target = torch.randint(0, items, (users,), generator=generator)
    assert value(f"Hit@{k}", ranks(scores, target).numpy()) == pytest.approx(k / items, abs=0.012)


def test_fractional_ranks() -> None:
    tie = np.array([10.5])
    assert value("Hit@10", tie) == 0.0
    assert value("Hit@11", tie) == 1.0
    assert value("NDCG@11", tie) == pytest.approx(1 / math.log2(11.5))
    assert value("MRR@11", tie) == pytest.approx(1 / 10.5)
    assert value("NDCG@10", np.array([1.5])) < log_gain(1, 2) / 2, (
        "a tie never earns more than its orders do on average"
    )


def test_values_keep_the_shape() -> None:
    rank = np.arange(1.0, 13.0).reshape(3, 4)
    for name in METRICS:
        found = parse_metric(f"{name}@5")(rank)
        assert found.shape == (3, 4)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found[2], 0.0)


def test_names() -> None:
    assert parse_metric("NDCG@10") == Metric("NDCG", 10, RANK_METRICS["NDCG"])
    assert str(parse_metric("MRR@51")) == "MRR@51"


@pytest.mark.parametrize(
    "text", ["", "NDCG", "NDCG@", "NDCG@0", "NDCG@-1", "NDCG@1.5", "ndcg@10", "Recall@10", "Hit@10 "]
)
def test_unknown_names_are_refused(text: str) -> None:
    with pytest.raises(DecorecError, match=r"expected one of Hit, NDCG, MRR"):
        parse_metric(text)


RANX = """
import json, sys
import ranx
relevant, scores, names = json.load(sys.stdin)
qrels, run = ranx.Qrels(relevant), ranx.Run(scores)
for name in names:
    ranx.evaluate(qrels, run, name)
print(json.dumps({name: run.scores[name] for name in names}))
"""


def test_agrees_with_ranx() -> None:
    generator = np.random.default_rng(5)
    users, items = 40, 120
    scores = generator.normal(size=(users, items))
    target = generator.integers(0, items, size=users)
    scores[np.arange(users), target] += 1.5
    relevant = {f"u{user:03}": {f"i{target[user]}": 1} for user in range(users)}
    scored = {f"u{user:03}": {f"i{item}": scores[user, item] for item in range(items)} for user in range(users)}
    names = {f"{ours}@{k}": f"{theirs}@{k}" for ours, theirs in PEER.items() for k in (1, 5, 10, 50)}
    # Compiling its loops takes a minute, running them plainly does not; a process decides on that once.
    result = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([relevant, scored, list(names.values())]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(result.stdout)
    rank = ranks(torch.from_numpy(scores), torch.from_numpy(target)).numpy()
    for ours, name in names.items():
        expected = [theirs[name][f"u{user:03}"] for user in range(users)]
        assert 0 < np.mean(expected) < 1
        np.testing.assert_allclose(parse_metric(ours)(rank), expected, rtol=1e-12)
