"""Items held out of a training: none of them is seen, and the ranks are those of the model with them added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import score_users
from decorec.models.added_items import WithAddedItems
from decorec.training import held_out_items
from decorec.training.held_out_items import hold_out, new_items
from tests.support import small

SHARE = 0.15
"""6 of 40 items."""


def test_what_is_held_out_is_in_no_training_and_no_history() -> None:
    data = small.sequences()
    held = hold_out(data, 40, SHARE)
    new = set(held.order[held.known :].tolist())
    assert held.known == 34 and len(new) == 6 and sorted(held.order.tolist()) == list(range(40))
    given = {
        name: data.items[a:b].tolist() for name, a, b in zip(data.users, data.offsets, data.offsets[1:], strict=False)
    }
    for name, a, b, part in zip(
        held.training.users, held.training.offsets, held.training.offsets[1:], range(10**6), strict=False
    ):
        own = held.order[held.training.items[a:b]].tolist()
        seen = [item for item in given[name][:-1] if item not in new]
        assert own == seen, "without test items, without held-out ones, in the same order"
        valid = given[name][-2] not in new
        assert held.training.parts.valid[part] == (len(own) - 1 if valid else -1)
        assert held.training.parts.training[part] == len(own) - valid and held.training.parts.test[part] == -1
    for user, name in enumerate(held.evaluation.users):
        a, b = held.evaluation.offsets[user : user + 2]
        own = held.order[held.evaluation.items[a:b]].tolist()
        assert own == [item for item in given[name][:-1] if item not in new] + given[name][-1:]
        assert held.evaluation.parts.test[user] == len(own) - 1 > 0
    left = {name for name, items in given.items() if all(item in new for item in items[:-1])}
    assert set(held.evaluation.users) == set(given) - left
    again = hold_out(data, 40, SHARE)
    assert again.order.tolist() == held.order.tolist(), "the same items for every run"
    with pytest.raises(DecorecError, match="expected items to train on, found 40 items"):
        hold_out(data, 40, 0.999)
    none = Sequences(data.users, data.offsets, np.where(data.items == held.order[-1], 0, data.items).astype(np.int32))
    with pytest.raises(DecorecError, match="expected test targets among the 1 items that are held out, found none"):
        hold_out(none, 40, 0.02)


@pytest.mark.parametrize("divided", [lambda data: data, small.by_time])
def test_a_user_is_the_same_in_training_and_evaluation_and_a_target_has_a_history(
    divided: Callable[[Sequences], Sequences],
) -> None:
    """Half of the items are held out, so that some users have nothing left to train on, or only a validation item."""
    data = divided(small.sequences(users=200))
    held = hold_out(data, 40, 0.5)
    training, evaluation = held.training, held.evaluation
    place = {user: number for number, user in enumerate(training.users)}
    assert evaluation.numbers.tolist() == [place.get(user, -1) for user in evaluation.users]
    assert len(training.users) < len(data.users)
    given = dict(zip(data.users, range(len(data.users)), strict=True))
    validated, alone = set(training.having("valid").users), 0
    for user, number in given.items():
        position = int(data.parts.valid[number])
        own = data.items[data.offsets[number] : data.offsets[number + 1]]
        known = np.isin(own, held.order[: held.known])
        before = own[:position][known[:position]].tolist()
        assert (user in validated) == (position >= 0 and known[position] and len(before) > 0)
        if user in validated:
            target = training.parts.valid[place[user]]
            kept = training.items[training.offsets[place[user]] :][: target + 1]
            assert held.order[kept].tolist() == [*before, own[position]]
        alone += position >= 0 and known[position] and not before
    assert alone, "a validation item with nothing before it"
    trained = int((np.isin(data.training().items, held.order[: held.known])).sum())
    assert len(training.training().items) == trained


def test_content_knn_has_the_new_items_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_items, "with_new_items", lambda *_: pytest.fail("nothing has to be added"))
    data, run = small.sequences(), small.run(name="content-knn")
    files, ranks = small.files(tmp_path, data, run), tmp_path / "newitems.parquet"
    given = {name: files[name] for name in ("vocab", "sequences", "features")}
    new_items(run=run, seed=0, share=SHARE, **given, code="a", cache=tmp_path / "cache", ranks=ranks)
    modes = pl.read_parquet(ranks)["mode"].unique().to_list()
    assert {"new targets, all items", "known targets, known items"} <= set(modes)


@pytest.mark.parametrize("name", ["decorec", "sasrec", "content-ease"])
def test_the_ranks_are_those_of_the_model_with_the_items_added(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a step that is done once more after its training finds the training done."""
    data, run = small.sequences(), small.run(name=name)
    files = small.files(tmp_path, data, run)
    extended: list[Any] = []

    def remembered(*arguments: Any) -> Any:
        extended.append(original(*arguments))
        return extended[-1]

    original = held_out_items.with_new_items
    monkeypatch.setattr(held_out_items, "with_new_items", remembered)
    cache, ranks = tmp_path / "cache", tmp_path / "newitems.parquet"
    given = {name: files[name] for name in ("vocab", "sequences", "features")}
    arguments: dict[str, Any] = {
        "run": run,
        "seed": 1,
        "share": SHARE,
        **given,
        "code": "a",
        "cache": cache,
        "ranks": ranks,
    }
    new_items(**arguments)
    assert list(cache.iterdir()) == []
    held, model = hold_out(data, 40, SHARE), extended[0].model
    assert isinstance(model, WithAddedItems)
    frame = pl.read_parquet(ranks)
    of = {user: index for index, user in enumerate(held.evaluation.users)}
    scores = torch.empty(len(of), 40)
    for chosen, part, _ in score_users(model, held.evaluation, "test"):
        scores[torch.from_numpy(chosen)] = part["kept"]
    targets, known = held.evaluation.targets("test"), held.known
    counts = dict(frame["mode"].value_counts().rows())
    new = int((targets >= known).sum())
    assert counts == {
        "new targets, all items": new,
        "new targets, new items": new,
        "known targets, all items": len(of) - new,
        "known targets, known items": len(of) - new,
    }
    columns = {"all items": slice(0, 40), "new items": slice(known, 40), "known items": slice(0, known)}
    for row in frame.iter_rows(named=True):
        user = of[row["user"]]
        own, among = float(scores[user, targets[user]]), scores[user, columns[row["mode"].partition(", ")[2]]]
        assert row["target"] == targets[user]
        assert row["higher"] == int((among > own).sum()) and row["equal"] == int((among == own).sum()) - 1
        past = set(held.evaluation.items[slice(*held.evaluation.offsets[user : user + 2])][:-1].tolist())
        begin = columns[row["mode"].partition(", ")[2]].start
        left = [float(s) for at, s in enumerate(among, begin) if at not in past or at == targets[user]]
        assert row["higher_masked"] == sum(s > own for s in left)
        assert row["equal_masked"] == sum(s == own for s in left) - 1
    before = ranks.read_bytes()
    monkeypatch.setattr(held_out_items.shutil, "rmtree", lambda *_, **__: None)  # as if it was killed right before
    new_items(**arguments)
    monkeypatch.setattr(held_out_items, "train", lambda **_: pytest.fail("the training is done"))
    new_items(**arguments)
    assert ranks.read_bytes() == before
