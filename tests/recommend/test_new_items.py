"""New items beside a trained run: where they stand, by hand; what was known keeps its order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import decorec
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.added_items import DECAY, NEIGHBOURS, WithAddedItems
from decorec.models.floors import SHRINKAGE
from decorec.recommend.new_items import ADDED, read_added, with_new_items, write_added
from decorec.recommend.trained import TrainedRun
from tests.recommend.test_trained import ITEMS, RUNS, alike, ids, names, saved
from tests.support import small

MODELS = RUNS | {name: {"name": name} for name in ("item-knn", "content-knn", "vstan", "popularity")}
NEW = [f"new {number}" for number in range(10)]


def world(folder: Path, **model: Any) -> tuple[TrainedRun, TrainedRun, Sequences, list[np.ndarray]]:
    """A run, the same with new items (the first of them a copy of item 7), its data, and the features of all items."""
    place, data = saved(folder, **model)
    before = decorec.load(place)
    known = small.item_data(data, small.run(**model))
    random = np.random.default_rng(3)
    features = []
    for name in ("text", "image"):
        old = known[f"features.{name}"].numpy()
        new = random.normal(size=(len(NEW), old.shape[1])).astype(np.float32)
        new[0] = old[7]
        features.append(np.concatenate([old, new]))
    after = TrainedRun(with_new_items(before.checkpoint, NEW, features, data))
    return before, after, data, features


def asked(data: Sequences) -> dict[str, Any]:
    """All histories, and their times."""
    histories = [names(data, user) for user in range(len(data.users))]
    times = [data.timestamps[a:b].tolist() for a, b in pairwise(data.offsets)]
    return {"histories": histories, "times": times}


@pytest.mark.parametrize("name", MODELS)
def test_known_items_keep_their_order_and_new_ones_have_their_share_of_the_places(name: str, tmp_path: Path) -> None:
    before, after, data, _ = world(tmp_path, **MODELS[name])
    everyone = asked(data)
    histories, times = everyone["histories"], everyone["times"]
    for exclude in ("bought", "nothing"):
        one = before.recommend_many(histories, 40, exclude=exclude, times=times)
        other = after.recommend_many(histories, 40, exclude=exclude, times=times, only=ITEMS)
        for row, again in zip(one, other, strict=True):
            # Scores may be logarithms of what they were, or their differences: the order is what has to stay.
            place = {item.item: item.score for item in row}
            assert sorted(place) == sorted(ids(again))
            found = [place[item.item] for item in again]
            assert all(a >= b - 1e-5 * max(1.0, abs(a)) for a, b in pairwise(found))
    first = after.recommend_many(histories, 10, times=times)
    new = [sum(item.item in NEW for item in row) for row in first]
    assert np.mean(new) == pytest.approx(10 * len(NEW) / (len(NEW) + 40), abs=1 / len(histories) + 1e-9)
    assert after.counts.tolist() == [*before.counts.tolist(), *[0] * len(NEW)]


def test_a_new_item_stands_where_the_formula_says(tmp_path: Path) -> None:
    """For one history of SASRec, from the scores of the known items and the features."""
    before, after, data, features = world(tmp_path, name="sasrec")
    history = names(data, 0)
    scores = {one.item: one.score for one in before.recommend(history, 40, exclude="nothing")}
    base = np.array([scores[item] for item in ITEMS])
    rows = []
    for x in features:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        apart = (unit - unit.mean(0)).astype(float)
        variances, directions = np.linalg.eigh(apart.T @ apart / len(apart))
        white = apart @ directions / np.sqrt(variances + SHRINKAGE * variances.mean())
        rows.append(white / np.linalg.norm(white, axis=1, keepdims=True) / np.sqrt(2))
    both = np.concatenate(rows, axis=1).astype(np.float64)
    cosines = both @ both.T
    np.fill_diagonal(cosines, 0)  # no item scores itself
    read = [ITEMS.index(item) for item in history]
    weights = np.arange(len(read), 0, -1.0) ** -DECAY
    content = (cosines[read] * weights[:, None]).sum(0)
    z = (base - base.mean()) / base.std()
    zc = (content - content[:40].mean()) / content[:40].std()
    model = after.model
    assert isinstance(model, WithAddedItems)
    expected = []
    for n in range(len(NEW)):
        alike_to = both[40 + n] @ both[:40].T
        near = np.argsort(-alike_to)[:NEIGHBOURS]
        shares = np.maximum(alike_to[near], 1e-6)
        expected.append(z[near] @ shares / shares.sum() + zc[40 + n] + float(model.added.offset))
    extended = {one.item: one.score for one in after.recommend(history, 50, exclude="nothing")}
    known = np.array([extended[item] for item in ITEMS])
    found = (np.array([extended[item] for item in NEW]) - known.mean()) / known.std()
    assert found == pytest.approx(np.array(expected), abs=2e-4)


def test_a_copy_of_a_known_item_is_like_it_and_stands_for_it(tmp_path: Path) -> None:
    before, after, data, _ = world(tmp_path, name="sasrec")
    model = after.model
    assert isinstance(model, WithAddedItems)
    assert model.added.neighbours[0, 0] == 7 and model.stand_ins()[40] == 7
    history = names(data, 3)
    copied = ["new 0" if item == "item 7" else item for item in [*history, "item 7"]]
    original = after.recommend([*history, "item 7"], 30, only=ITEMS, exclude="nothing")
    assert alike(after.recommend(copied, 30, only=ITEMS, exclude="nothing"), original)
    assert "new 0" not in ids(after.recommend(copied, 40)), "a new item that was bought is no candidate"
    assert len(after.embed(NEW)) == len(NEW) and "item 7" in ids(after.similar("new 0", 5))
    assert before.recommend(history, 5) == decorec.load(tmp_path).recommend(history, 5), "the run itself is as it was"


def test_added_items_are_kept_beside_the_weights_they_belong_to(tmp_path: Path) -> None:
    _, after, data, features = world(tmp_path, name="sasrec")
    stage = tmp_path / "fit"
    write_added(after.checkpoint, stage)
    again = decorec.load(tmp_path)
    assert again.items == [*ITEMS, *NEW] and again.counts.tolist() == after.counts.tolist()
    history = names(data, 1)
    assert again.recommend(history, 30) == after.recommend(history, 30)
    with pytest.raises(DecorecError, match="expected a trained run, found one with added items"):
        again.add_items(tmp_path / "items.csv")
    other, _ = saved(tmp_path / "other", 1, name="sasrec")
    (other / "fit" / ADDED).write_bytes((stage / ADDED).read_bytes())
    with pytest.raises(DecorecError, match=r"added.safetensors: expected items that were added to the weights beside"):
        decorec.load(other)
    plain = checkpoint.load(stage / "model.safetensors", stage / "config.json")
    assert read_added(plain, tmp_path) is plain, "there is no such file"
    with pytest.raises(DecorecError, match="expected a run with added items, found one without"):
        write_added(plain, tmp_path)
    for wrong, words in (([*NEW[:9], "item 3"], "'item 3', which the model knows"), ([*NEW[:9], NEW[0]], "one twice")):
        with pytest.raises(DecorecError, match=words):
            with_new_items(plain, wrong, features, data)
    nobody = Sequences(["nobody"], np.zeros(2, np.int64), np.empty(0, np.int32))
    with pytest.raises(DecorecError, match="expected customers who bought items of the model, found none"):
        with_new_items(plain, NEW, features, nobody)


def test_a_model_with_added_items_is_not_trained(tmp_path: Path) -> None:
    _, after, _, _ = world(tmp_path, name="sasrec")
    with pytest.raises(TypeError, match="is not trained"):
        after.model.loss(torch.empty(0))  # type: ignore[arg-type]
