"""What scores are made of: parts whose sum is the score, beside that of an average product by the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorec.data.batches import Batch, profiles
from decorec.models.decorec import DeCoRec
from decorec.recommend.histories import from_lists
from decorec.recommend.new_items import with_new_items
from decorec.recommend.score_parts import Parts, ScoreParts
from decorec.recommend.trained import TrainedRun, load
from tests.support import small
from tests.support.service import ITEMS, train

EXPERTS = {"floor": {"name": "ease"}, "weight": 0.7, "neighbourhood": 0.3, "repeats": "counted"}
HISTORY = [ITEMS[3], ITEMS[9], "unknown", ITEMS[4]]


def made(folder: Path, stage: str = "stage2", experts: dict[str, Any] | None = None, **model: Any) -> TrainedRun:
    """A run whose weights are all of a size at which they count; those of an untrained model are next to zero."""
    train(folder, 0, stage, experts, **model)
    found = load(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in found.model.named_parameters():
            if name.split(".")[0] in ("adapters", "ids", "interests") and parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return TrainedRun(found.checkpoint)


def read(trained: TrainedRun) -> Batch:
    ((_, batch),) = profiles(from_lists([HISTORY], trained.index), 50).in_order(50)
    return batch


def scores(trained: TrainedRun, exclude: Any = "nothing") -> dict[str, float]:
    return {each.item: each.score for each in trained.recommend(HISTORY, len(trained.items), exclude=exclude)}


def parts(trained: TrainedRun, items: list[str], exclude: Any = "bought") -> list[Parts]:
    found = [each for each in ScoreParts(trained).of(HISTORY, items, exclude) if each is not None]
    assert len(found) == len(items)
    return found


CASES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "one weighs less": {"alpha": 0.4},
    "the other does not count": {"alpha": 0.0},
    "each by itself": {"cross": False},
    "cosine": {"similarity": "cosine", "temperature": 0.2},
    "one modality": {"modalities": ["text"]},
    "without ids": {"ids": False},
    "without interests": {"interests": False},
    "released": {"scoring": "exponentials", "id_enrichment": "mean", "interest_mlp": False},
    "logits": {"scoring": "logits", "alpha": 0.5},
    "ids alone": {"modalities": [], "stage": "fit"},
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_parts_add_up_to_the_score(name: str, tmp_path: Path) -> None:
    trained = made(tmp_path, **CASES[name])
    model, own, found = trained.model, scores(trained), parts(trained, ITEMS)
    assert isinstance(model, DeCoRec)
    values = np.array([own[item] for item in ITEMS])
    values = values if model.config.scoring == "logits" else np.log(values)
    sums = np.array([sum(each.log_odds.values()) for each in found])
    assert np.ptp(sums) > 0.1 and np.ptp(values - sums) < 2e-5, "the same is missing of all items"
    if model.config.similarity == "dot":  # what is missing is the score of a product in the middle of all
        states, middle = model.queries(read(trained)), trained.representations.mean(1, keepdim=True)
        total = model.total(model.logits(states, trained.representations), len(states), None)
        average = float(model.scores_from(model.logits(states, middle), len(states), total))
        average = average if model.config.scoring == "logits" else np.log(average)
        assert (values - sums).mean() == pytest.approx(average, abs=2e-5)
    named = {*model.adapters, *(["ids"] if model.ids is not None else []), *(["interests"] if model.interests else [])}
    assert all(set(each.log_odds) == named for each in found)
    if model.config.scoring != "logits" and model.adapters:
        assert [sum(each.modalities.values()) for each in found] == pytest.approx([1] * len(ITEMS))


@torch.no_grad()
def test_a_part_is_of_what_it_is_named_after(tmp_path: Path) -> None:
    """Eq. 17 alone is the share of a modality; a term that all items have alike is no part of a difference."""
    trained = made(tmp_path, alpha=0.0)
    model = trained.model
    assert isinstance(model, DeCoRec) and model.ids is not None and model.interests is not None
    logits = model.logits(model.queries(read(trained)), trained.representations)
    own = torch.softmax(logits, 1).view(2, 2, len(ITEMS))[[0, 1], [0, 1]]
    expected = (own / own.sum(0)).T.tolist()
    for each, shares in zip(parts(trained, ITEMS), expected, strict=True):
        assert list(each.modalities) == ["text", "image"]
        assert list(each.modalities.values()) == pytest.approx(shares, rel=1e-4)
    model.ids.weight[:] = model.ids.weight[0]
    model.enrich_ids = None
    alike = parts(TrainedRun(trained.checkpoint), ITEMS)
    assert max(abs(each.log_odds["ids"]) for each in alike) < 1e-5
    assert min(max(abs(each.log_odds[name]) for each in alike) for name in ("text", "image", "interests")) > 0.01


@pytest.mark.parametrize("exclude", ["bought", "nothing"])
def test_experts_are_parts_as_they_are(exclude: Any, tmp_path: Path) -> None:
    trained = made(tmp_path, experts=EXPERTS)
    own = scores(trained, exclude)
    found = parts(trained, list(own), exclude)
    missing = [own[item] - sum(each.log_odds.values()) for item, each in zip(own, found, strict=True)]
    assert np.ptp(missing) < 2e-5
    assert all(("repeats" in each.log_odds) == (exclude == "nothing") for each in found)
    floor = np.array([each.log_odds["floor"] for each in parts(trained, ITEMS)])
    assert (floor.mean(), floor.std()) == pytest.approx((0, EXPERTS["weight"]), abs=1e-5), "standardised, and weighted"
    assert min(each.log_odds["neighbourhood"] for each in found) == pytest.approx(0, abs=1e-6), "not bought together"


def test_new_items_have_none_and_change_none(tmp_path: Path) -> None:
    trained = made(tmp_path)
    features = [np.random.default_rng(0).normal(size=(len(ITEMS) + 1, 8)).astype(np.float32)]
    more = TrainedRun(with_new_items(trained.checkpoint, ["new"], features, small.sequences()))
    known, (new,) = parts(more, ITEMS), ScoreParts(more).of(HISTORY, ["new"])
    assert new is None
    assert [each.log_odds for each in known] == [pytest.approx(each.log_odds) for each in parts(trained, ITEMS)]
    own = scores(more, "bought")
    missing = [own[item] - sum(each.log_odds.values()) for item, each in zip(ITEMS, known, strict=True) if item in own]
    assert np.ptp(missing) < 2e-5
    first = ScoreParts(more).of(["new"], ITEMS)
    assert first == ScoreParts(more).of([ITEMS[int(more.model.stand_ins()[-1])]], ITEMS), "the model reads its stand-in"


def test_other_models_and_histories_without_a_known_item_have_none(tmp_path: Path) -> None:
    train(tmp_path / "sasrec", stage="fit", name="sasrec")
    assert ScoreParts(load(tmp_path / "sasrec")).of(HISTORY, ITEMS[:2]) == [None, None]
    assert ScoreParts(made(tmp_path / "decorec")).of(["unknown"], ITEMS[:2]) == [None, None]
