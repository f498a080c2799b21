"""The floors against their definitions: counts, neighbours, and regressions solved in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._worlds import SCIENTIFIC, World, scientific
from decorec.config.runs import resolve
from decorec.data.batches import histories
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_users
from decorec.evaluation.metrics import parse_metric
from decorec.evaluation.rank_metrics import Ranks
from decorec.models import checkpoint, closed_form, vstan
from decorec.models.base import Recommender
from decorec.models.floors import item_features
from decorec.models.item_data import ItemData
from decorec.models.registry import build
from tests.support import small

ITEMS = 40


def fitted(name: str, data: Sequences, known: ItemData | None = None, **options: Any) -> Recommender:
    run = small.run(name=name, **options)
    model = build(run, known or small.item_data(data, run), "fit")
    model.observe(data.training())
    return model


def scores_of(model: Recommender, data: Sequences) -> Tensor:
    """[U, I] after the whole history before the test item."""
    windows = histories(data, "test", model.config.length)
    with torch.no_grad():
        representations = model.item_representations()
        parts = [(chosen, model.scores(batch, representations)) for chosen, batch in windows.in_order(100)]
    found = torch.empty(len(data.users), parts[0][1].shape[1])
    for chosen, scores in parts:
        found[torch.from_numpy(chosen)] = scores
    return found


def history_of(data: Sequences, user: int, decay: float, items: int = ITEMS) -> Tensor:
    """[I]: what the items before the test item count."""
    past = data.items[data.offsets[user] : data.offsets[user + 1] - 1].tolist()
    found = torch.zeros(items)
    for distance, item in enumerate(reversed(past), 1):
        found[item] = found[item] + distance**-decay if decay else 1.0
    return found


def walks(*users: list[int]) -> Sequences:
    offsets = np.concatenate([[0], np.cumsum([len(user) for user in users])])
    return Sequences([f"u{n}" for n in range(len(users))], offsets, np.concatenate(users).astype(np.int32))


# Neighbours


@pytest.mark.parametrize(("decay", "kind"), [(0.0, "symmetric"), (0.5, "row"), (1.0, "symmetric")])
def test_neighbours_are_summed_over_the_whole_history(decay: float, kind: str) -> None:
    data = small.sequences(users=12, longest=120)
    assert data.lengths.max() > 51, "no window"
    item_knn = fitted("item-knn", data, decay=decay, normalisation=kind)
    content = fitted("content-knn", data, decay=decay, features="raw")
    hybrid = fitted("hybrid-knn", data, decay=decay, weight=0.3, features="raw", normalisation=kind)
    graph = item_knn.graph(torch.eye(ITEMS))  # type: ignore[operator]
    assert kind == "symmetric" or torch.allclose(graph.sum(1), torch.ones(ITEMS)), "an item of the history gives 1"
    cosines = sum(
        functional.cosine_similarity(x[:, None], x[None], dim=2) / 2
        for x in (content.item_data["features.text"], content.item_data["features.image"])
    )
    cosines.fill_diagonal_(0)  # type: ignore[union-attr]
    found = [scores_of(model, data) for model in (item_knn, content, hybrid)]
    for user in range(12):
        history = history_of(data, user, decay)
        together, alike = history @ graph, history @ cosines
        torch.testing.assert_close(found[0][user], together, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1][user], alike, rtol=1e-4, atol=1e-5)
        both = 0.3 * together / together.max() + 0.7 * alike / alike.max()
        torch.testing.assert_close(found[2][user], both, rtol=1e-4, atol=1e-4)


def test_the_latest_item_alone_and_popularity() -> None:
    data = small.sequences(users=12)
    last = scores_of(fitted("item-knn", data, length=1), data)
    graph = fitted("item-knn", data).graph(torch.eye(ITEMS))  # type: ignore[operator]
    torch.testing.assert_close(last, graph[data.items[data.offsets[1:] - 2]])
    counts = torch.from_numpy(np.bincount(data.training().items, minlength=ITEMS)).float()
    assert torch.equal(scores_of(fitted("popularity", data), data), counts.expand(12, -1))


def test_forms_of_features() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 3
    mixed[7] = 0
    known = ItemData(500, {"features.text": mixed, "features.image": mixed})
    for form in ("raw", "centred", "whitened"):
        rows = item_features(known, form)  # type: ignore[arg-type]
        assert rows.shape == (500, 12) and not rows[7].any(), "an item without the modality"
        there = rows[torch.arange(500) != 7]
        torch.testing.assert_close(there.norm(dim=1), torch.ones(499))
        assert (there.mean(0).norm() < 0.2) == (form != "raw")
        spread = torch.linalg.eigvalsh(there[:, :6].T.cov())
        assert (spread[0] > 0.2 * spread[-1]) == (form == "whitened")


def test_whitening_adds_a_tenth_of_the_mean_variance() -> None:
    """Direction by direction, in numpy."""
    text = torch.tensor([[8.0, 9.0], [12.0, 9.0], [8.0, 11.0], [12.0, 11.0]]) @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    x = functional.normalize(text.double(), dim=1)
    centred = x - x.mean(0)
    variances, directions = np.linalg.eigh((centred.T @ centred / 4).numpy())
    cosines = torch.zeros(4, 4, dtype=torch.float64)
    for variance, direction in zip(variances, directions.T, strict=True):
        along = centred @ torch.from_numpy(direction.copy())
        cosines += torch.outer(along, along) / (variance + 0.1 * variances.mean())
    lengths = cosines.diagonal().sqrt()
    rows = item_features(ItemData(4, {"features.text": text, "features.image": text}), "whitened").double()
    torch.testing.assert_close(rows @ rows.T, cosines / torch.outer(lengths, lengths), rtol=1e-4, atol=1e-5)


# Closed forms


THREE = walks([0, 1, 2, 2], [0, 1, 2, 0, 1], [1, 2, 0, 0])
"""Training parts (0, 1), (0, 1, 2), (1, 2)."""
LIKE = ItemData(3, {f"features.{name}": torch.tensor([[1.0, 0], [0, 1], [1, 0]]) for name in ("text", "image")})
"""Items 0 and 2 are alike."""
HALF = [[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ease", {"ridge": 1}, HALF),
        (
            "content-ease",
            {"side": "gram", "weight": 0.5, "ridge": 1},
            [[0, 0.44444, 0.13376], [0.40764, 0, 0.40764], [0.13376, 0.44444, 0]],
        ),
        (
            "content-ease",
            {"side": "prior", "ridge": 3, "weight": 2 / 3, "feature_ridge": 1},
            [[0, 0.33333, 0.30769], [0.23077, 0, 0.23077], [0.30769, 0.33333, 0]],
        ),
        (
            "content-ease",
            {"side": "additive", "ridge": 1, "weight": 1, "feature_ridge": 1},
            [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
        ),
        (
            "content-ease",
            {"side": "additive", "ridge": 1, "weight": 0.25, "feature_ridge": None},
            [[0, 0.5, 0.25], [0.5, 0, 0.5], [0.25, 0.5, 0]],
        ),
    ],
)
@pytest.mark.parametrize("neighbours", [None, 2])
def test_worked_examples(name: str, options: dict[str, Any], expected: Any, neighbours: int | None) -> None:
    model = fitted(name, THREE, LIKE, neighbours=neighbours, decay=1, **options)
    coefficients = torch.tensor(expected)
    if neighbours is None:
        torch.testing.assert_close(model.item_representations()[0], coefficients, rtol=1e-4, atol=1e-5)
    history = torch.stack([history_of(THREE, user, 1.0, 3) for user in range(3)])
    assert history[1].tolist() == pytest.approx([1 + 1 / 4, 1 / 3, 1 / 2]), "repeats add up"
    torch.testing.assert_close(scores_of(model, THREE), history @ coefficients, rtol=1e-4, atol=1e-5)


SIDES = [{"side": side, "weight": 0.5} for side in ("gram", "prior", "additive")]


@pytest.mark.parametrize(("name", "options"), [("ease", {}), *(("content-ease", side) for side in SIDES)])
def test_a_neighbourhood_of_everything_restricts_nothing(name: str, options: dict[str, Any]) -> None:
    data = small.sequences()
    whole = scores_of(fitted(name, data, ridge=3, **options), data)
    for neighbours in (ITEMS - 1, ITEMS + 5):
        restricted = fitted(name, data, ridge=3, neighbours=neighbours, **options)
        torch.testing.assert_close(scores_of(restricted, data), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [*SIDES[:1], {"side": "prior", "weight": 0.0}, {"side": "additive", "weight": 0.0}])
def test_without_weight_text_and_picture_change_nothing(options: dict[str, Any]) -> None:
    data = small.sequences()
    own = fitted("content-ease", data, **options | {"weight": 0.0}).item_representations()
    assert torch.equal(own, fitted("ease", data).item_representations())


def test_neighbours_are_those_that_come_with_an_item_for_its_numbers_and_those_that_are_like_it() -> None:
    data = small.sequences(users=40, longest=6)
    model = fitted("ease", data, ridge=2, neighbours=6)
    training = data.training()
    matrix = np.zeros((len(data.users), ITEMS))
    matrix[np.repeat(np.arange(len(data.users)), training.lengths), training.items] = 1
    gram = matrix.T @ matrix
    content = fitted("content-ease", data, neighbours=6, features="raw")
    features = item_features(content.item_data, "raw").numpy()
    for item in range(ITEMS):
        nearness = gram[:, item] / np.sqrt(np.maximum(gram.diagonal() * gram[item, item], 1))
        nearness[item] = 0
        best = np.argsort(-nearness, kind="stable")[:6]
        best = np.sort(best[nearness[best] > 0])
        found = model.sources[item].numpy()  # type: ignore[index]
        assert found[found >= 0].tolist() == best.tolist(), item
        expected = np.linalg.solve(gram[np.ix_(best, best)] + 2 * np.eye(len(best)), gram[best, item])
        np.testing.assert_allclose(model.weights[item].numpy()[found >= 0], expected, rtol=1e-5, atol=1e-7)  # type: ignore[index]
        likeness = features @ features[item]
        likeness[item] = -np.inf
        both = content.sources[item].numpy()  # type: ignore[index]
        assert set(both[both >= 0]) == {*best.tolist(), *np.argsort(-likeness)[:6].tolist()}, item
    few = (model.sources < 0).sum()  # type: ignore[operator]
    assert 0 < few < ITEMS * 6, "some items come with fewer others"


@pytest.mark.parametrize("neighbours", [None, 5])
def test_an_item_that_nobody_had_is_scored_by_text_and_picture_alone(neighbours: int | None) -> None:
    data = small.sequences()
    fresh = np.where(data.items == 7, 8, data.items)
    fresh[data.offsets[1:] - 1] = 7  # it is the test item of everyone, and in no training part
    data = Sequences(data.users, data.offsets, fresh)
    assert not scores_of(fitted("ease", data, neighbours=neighbours), data)[:, 7].any()
    for options in SIDES:
        found = scores_of(fitted("content-ease", data, neighbours=neighbours, **options), data)[:, 7]
        assert found.all() if neighbours is None else found.any(), options


@pytest.mark.parametrize("name", ["ease", "content-ease"])
def test_neighbours_are_in_the_checkpoint(name: str, tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(name=name, neighbours=6)
    model = fitted(name, data, neighbours=6)
    files = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(model, run, 0, [f"i{n}" for n in range(ITEMS)], *files)
    assert torch.equal(scores_of(checkpoint.load(*files).model, data), scores_of(model, data))


def test_more_items_than_fit_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "SQUARED", 30)
    with pytest.raises(DecorecError, match=r"ease: expected at most 30 items, found 40, .*; set its key neighbours"):
        fitted("ease", small.sequences())
    fitted("ease", small.sequences(), neighbours=3)


# Neighbours among sequences


def at_days(data: Sequences, *days: float) -> Sequences:
    return replace(data, timestamps=(np.array(days) * 86_400).astype(np.int64))


SESSIONS = walks([0, 1, 2, 0], [1, 2, 3, 0, 0], [0, 4, 0, 0], [5, 6, 7, 8])
"""Histories (a, b, c), ... and training parts (a, b), (b, c, d), (a, e), and (f, g), whose items nobody else has."""
VSKNN = {"l1": None, "l3": None, "l_ipw": None, "similarity": "share", "idf": 0.0, "itself": True}
STAN = {"l1": 1.02, "l2": 5.0, "l3": 2.05, "l_ipw": None, "idf": 0.0, "itself": True}


@pytest.mark.parametrize(("decay", "of_d", "of_e"), [("div", 0.55556, 0.03704), ("linear", 0.5, 0.07778)])
def test_vsknn_by_hand(decay: str, of_d: float, of_e: float) -> None:
    found = scores_of(fitted("vstan", SESSIONS, position="div", decay=decay, **VSKNN), SESSIONS)
    assert found[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert found[0, 3:5].tolist() == pytest.approx([of_d, of_e], abs=1e-5)
    assert not found[3].any(), "the own sequence is no neighbour"


@pytest.mark.parametrize(("ended", "days"), [(-10, 10), (0, 0), (30, 0)])
def test_stan_by_hand(ended: float, days: float) -> None:
    """A sequence that ended later than the history is as near in time as one that ended with it."""
    data = at_days(walks([0, 1, 2, 0], [1, 2, 3, 0, 0]), 97, 98, 99, 200, *[99 + ended] * 3, 300, 300)
    found = scores_of(fitted("vstan", data, **STAN), data)[0]
    expected = 0.73699 * math.exp(-days / 5)
    assert found[2].item() == pytest.approx(expected, abs=1e-5)
    assert found[[1, 3]].tolist() == pytest.approx([expected * 0.61398] * 2, abs=1e-5)
    assert found.count_nonzero() == 3


@pytest.mark.parametrize(("first", "second", "item"), [(5, 9, 3), (9, 5, 2), (5, 5, 2)])
def test_of_equally_similar_sequences_the_one_that_ended_last_is_the_neighbour(
    first: int, second: int, item: int
) -> None:
    """Then the first in the order of the users. Training parts (0, 1), (0, 2) and (0, 3) of equal similarity."""
    data = at_days(walks([0, 1, 4, 4], [0, 2, 5, 5], [0, 3, 5, 5]), 1, 2, 3, 4, *[first] * 4, *[second] * 4)
    found = scores_of(fitted("vstan", data, neighbours=1), data)[0]
    assert found[[2, 3]].nonzero().flatten().tolist() == [item - 2]


def described(data: Sequences, user: int, k: int, sample: int, l2: float, idf: float, itself: bool) -> Tensor:
    """VSTAN with l1 = 2, l3 = 3 and l_ipw = 4, from its definition; as what decides between equals, the later end."""
    training, times = data.training(), data.timestamps
    assert times is not None and training.timestamps is not None
    past = data.items[data.offsets[user] : data.offsets[user + 1] - 1].tolist()
    now = times[data.offsets[user + 1] - 2]
    weights = {item: math.exp((place - len(past) + 1) / 2) for place, item in enumerate(past)}
    sessions = []
    for other in range(len(data.users)):
        begin, end = training.offsets[other : other + 2]
        places = {item: place for place, item in enumerate(training.items[begin:end].tolist())}
        sessions.append((training.timestamps[end - 1], places))
    candidates = [
        (ended, places)
        for other, (ended, places) in sorted(enumerate(sessions), key=lambda pair: -pair[1][0])
        if other != user and weights.keys() & places.keys()
    ]
    near = []
    for ended, places in candidates[:sample]:
        both = weights.keys() & places.keys()
        norm = math.sqrt(sum(w * w for w in weights.values()) * len(places))
        recency = math.exp(-max(0, now - ended) / 86_400 / l2)
        near.append((sum(weights[item] for item in both) / norm * recency, norm / recency, both, places))
    found = torch.zeros(ITEMS, dtype=torch.float64)
    for similarity, norm, both, places in sorted(near, key=lambda entry: -entry[0])[:k]:
        newest = math.exp(-min(past[::-1].index(item) for item in both) / 4)
        anchor = max(places[item] for item in both)
        for item, place in places.items():
            own = 0.0 if itself else weights.get(item, 0.0) / norm
            rarity = 1 + idf * math.log(len(sessions) / sum(item in other for _, other in sessions))
            found[item] += (similarity - own) * newest * math.exp(-abs(place - anchor) / 3) * rarity
    return found


@pytest.mark.parametrize("itself", [False, True])
def test_vstan_is_what_its_definition_says(itself: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.sequences(users=40, longest=30)
    data = replace(data, items=np.random.default_rng(1).integers(0, ITEMS, len(data.items)).astype(np.int32))
    chosen = {"neighbours": 7, "sample_size": 15, "l2": 9.0, "idf": 0.5, "itself": itself}
    monkeypatch.setattr(vstan, "PAIRS_AT_ONCE", 200)
    found = scores_of(fitted("vstan", data, l1=2.0, l3=3.0, l_ipw=4.0, **chosen), data)
    expected = torch.stack([described(data, user, *chosen.values()) for user in range(40)])  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)


# Reference figures: the validation items of Scientific. They were computed elsewhere, in float64.


@pytest.fixture(scope="module")
def real() -> World:
    if not SCIENTIFIC.exists():
        pytest.skip("real data not at data/scientific")
    return scientific()


def validated(model: Recommender, real: World) -> list[float]:
    ranks = rank_users(model, real.sequences, "valid")
    return [float(parse_metric(name)(ranks).mean()) for name in ("Hit@10", "NDCG@10", "Hit@50")]


def with_forgetting(coefficients: Tensor, real: World, scale: float) -> list[float]:
    """Validation where an item that is d steps from the target counts exp(-(d - 1) / scale), in plain numpy."""
    data, matrix = real.sequences, coefficients.numpy().astype(np.float64)
    higher, equal = [], []
    for begin, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        past, target = data.items[begin : end - 2], data.items[end - 2]
        scores = np.exp(-np.arange(len(past))[::-1] / scale) @ matrix[past]
        higher.append((scores > scores[target]).sum())
        equal.append((scores == scores[target]).sum() - 1)
    ranks = Ranks(np.array(higher), np.array(equal))
    return [float(parse_metric(name)(ranks).mean()) for name in ("Hit@10", "NDCG@10", "Hit@50")]


@pytest.mark.parametrize(
    ("name", "options", "expected", "forgetting"),
    [
        (
            "ease",
            {"ridge": 200},
            [0.1434, 0.0876, 0.2964],
            {4: [0.1465, 0.0914, 0.3012], 1.5: [0.1520, 0.0952, 0.2835]},
        ),
        ("ease", {"ridge": 10}, [0.1260, 0.0714, 0.2623], {}),
        ("content-knn", {"features": "raw"}, [0.1038, 0.0589, 0.2339], {}),
        (
            "content-ease",
            {"side": "gram", "features": "centred", "ridge": 100, "weight": 3},
            [0.1714, 0.1008, 0.3176],
            {4: [0.1749, 0.1058, 0.3169]},
        ),
        (
            "content-ease",
            {"side": "prior", "features": "raw", "ridge": 200, "weight": 0.25, "feature_ridge": 1},
            [0.1725, 0.1047, 0.3337],
            {4: [0.1793, 0.1100, 0.3268]},
        ),
    ],
)
def test_reference_figures(
    real: World, name: str, options: dict[str, Any], expected: list[float], forgetting: dict[float, list[float]]
) -> None:
    run = resolve({}, "described", {"model": {"name": name, "decay": 0, **options}})
    model = build(run, real.item_data, "fit")
    model.observe(real.sequences.training())
    assert validated(model, real) == pytest.approx(expected, abs=1.1e-4)
    for scale, figures in forgetting.items():
        found = with_forgetting(model.item_representations()[0], real, scale)
        assert found == pytest.approx(figures, abs=1.1e-4), scale
