"""Metrics of one true item, by hand, over all orders of ties, and against an independent library."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from decorec.errors import DecorecError
from decorec.evaluation.metrics import MAIN, METRICS, NAMED, REPORTED, parse_metric
from decorec.evaluation.rank_metrics import RANK_METRICS, Metric, Ranks
from decorec.evaluation.ranking import ranks
from decorec.tables import advantages, claims, curves, leaderboard, verdict

PEER = {"Hit": "hit_rate", "NDCG": "ndcg", "MRR": "mrr"}
HAND = Ranks(np.array([0, 9, 10, 49, 50]), np.zeros(5, np.int64))
SIMPLE = {
    "Hit": lambda rank, k: float(rank <= k),
    "NDCG": lambda rank, k: 1 / math.log2(rank + 1) if rank <= k else 0.0,
    "MRR": lambda rank, k: 1 / rank if rank <= k else 0.0,
}
"""The definitions for an item that ties with no other, written out once more."""


def value(metric: str, found: Ranks = HAND) -> float:
    return float(parse_metric(metric)(found).mean())


def tied(higher: int, equal: int) -> Ranks:
    return Ranks(np.array([higher]), np.array([equal]))


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
    higher, equal = np.random.default_rng(0).integers(0, 3, size=(2, 500))
    values = [parse_metric(f"{name}@1")(Ranks(higher, equal)) for name in METRICS]
    assert 0 < values[0].mean() < 1
    for other in values[1:]:
        np.testing.assert_array_equal(values[0], other)


@pytest.mark.parametrize("items", [19, 20, 400])
def test_a_constant_model_hits_by_chance(items: int) -> None:
    """Nothing jumps between 19 items, whose mean place is 10, and 20."""
    found = ranks(torch.full((items, items), 0.3), torch.arange(items))
    for k in (1, 10, 50):
        places = range(1, min(k, items) + 1)
        assert (parse_metric(f"Hit@{k}")(found) == min(k, items) / items).all()
        assert value(f"NDCG@{k}", found) == pytest.approx(log_gain(*places) / items, rel=1e-14)
        assert value(f"MRR@{k}", found) == pytest.approx(sum(1 / place for place in places) / items, rel=1e-14)


@pytest.mark.parametrize("levels", [1, 2, 3, 6])
@pytest.mark.parametrize("name", list(METRICS))
def test_a_tie_is_the_mean_over_all_orders_of_its_items(name: str, levels: int) -> None:
    items, random = 6, np.random.default_rng(levels)
    for scores in random.integers(0, levels, size=(4, items)):
        orders = [o for o in itertools.permutations(range(items)) if all(np.diff(scores[list(o)]) <= 0)]
        found = ranks(torch.from_numpy(np.tile(scores, (items, 1))).double(), torch.arange(items))
        for k in range(1, items + 2):
            expected = [np.mean([SIMPLE[name](o.index(item) + 1, k) for o in orders]) for item in range(items)]
            np.testing.assert_allclose(parse_metric(f"{name}@{k}")(found), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", list(METRICS))
def test_without_ties_the_values_are_those_of_the_formula_to_the_last_bit(name: str) -> None:
    """Also beside users with ties: figures without ties keep their bytes."""
    rank = np.arange(1.0, 2001.0)
    formula = {
        "Hit": lambda k: np.where(rank <= k, 1.0, 0.0),
        "NDCG": lambda k: np.where(rank <= k, 1 / np.log2(rank + 1), 0.0),
        "MRR": lambda k: np.where(rank <= k, 1 / rank, 0.0),
    }[name]
    higher = np.arange(2000)
    for k in (1, 10, 50, 1500):
        metric = parse_metric(f"{name}@{k}")
        assert metric(Ranks(higher, np.zeros(2000, np.int64))).tobytes() == formula(k).tobytes()
        beside = metric(Ranks(np.append(higher, 3), np.append(np.zeros(2000, np.int64), 40)))
        assert beside[:-1].tobytes() == formula(k).tobytes()


def test_long_ties_keep_their_precision() -> None:
    for higher, equal in ((0, 999_999), (45, 100_000), (9_990, 20)):
        expected = math.fsum(SIMPLE["NDCG"](place, 10_000) for place in range(higher + 1, higher + equal + 2))
        assert value("NDCG@10000", tied(higher, equal)) == pytest.approx(expected / (equal + 1), rel=1e-12)


@pytest.mark.parametrize(("levels", "k"), [(200, 10), (200, 50), (100, 50), (100_000, 10)])
def test_random_scores_hit_by_chance_with_ties(levels: int, k: int) -> None:
    """Scores without information, in ``levels`` values: Hit@k is about k / N whether or not items tie."""
    generator = torch.Generator().manual_seed(levels + k)
    users, items = 20_000, 200
    scores = torch.randint(0, levels, (users, items), generator=generator).float()
    target = torch.randint(0, items, (users,), generator=generator)
    assert value(f"Hit@{k}", ranks(scores, target)) == pytest.approx(k / items, abs=0.012)


def test_a_tie_by_hand() -> None:
    """Two items on the places 10 and 11."""
    assert value("Hit@9", tied(9, 1)) == 0.0
    assert value("Hit@10", tied(9, 1)) == 0.5
    assert value("Hit@11", tied(9, 1)) == 1.0
    assert value("NDCG@10", tied(9, 1)) == pytest.approx(log_gain(10) / 2, rel=1e-14)
    assert value("NDCG@11", tied(9, 1)) == pytest.approx(log_gain(10, 11) / 2, rel=1e-14)
    assert value("MRR@11", tied(9, 1)) == pytest.approx((1 / 10 + 1 / 11) / 2, rel=1e-14)
    assert tied(9, 1).mean_rank().tolist() == [10.5]


def test_values_keep_the_shape() -> None:
    higher = np.arange(12).reshape(3, 4)
    for name, equal in itertools.product(METRICS, (0, 2)):
        found = parse_metric(f"{name}@5")(Ranks(higher, np.full((3, 4), equal)))
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
    found = ranks(torch.from_numpy(scores), torch.from_numpy(target))
    for ours, name in names.items():
        expected = [theirs[name][f"u{user:03}"] for user in range(users)]
        assert 0 < np.mean(expected) < 1
        np.testing.assert_allclose(parse_metric(ours)(found), expected, rtol=1e-12)


def test_what_pages_and_figures_name_is_reported() -> None:
    named = {MAIN, *advantages.PRINTED, *claims.IN_FIGURE_4, *curves.DRAWN, *leaderboard.METRICS, verdict.METRIC}
    assert named <= set(NAMED) <= set(REPORTED)
