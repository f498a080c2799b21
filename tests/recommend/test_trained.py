"""A trained run in use: the lists are those of the evaluation, and every restriction is heeded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import decorec
from decorec.artifacts.schemas.ranks import HISTORIES
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_by_history
from decorec.evaluation.top_lists import TopLists
from decorec.recommend.trained import TrainedRun
from tests.support import small
from tests.support.service import train

ITEMS = [f"item {number}" for number in range(40)]
EXPERTS = {"floor": {"name": "content-ease"}, "weight": 0.3, "neighbourhood": 0.3, "repeats": "counted"}
RUNS: dict[str, Any] = {
    "decorec": {},
    "decorec-plus": {"experts": EXPERTS},
    "short windows": {"encoder": {"length": 3}},
    "sasrec": {"name": "sasrec"},
    "bert4rec": {"name": "bert4rec"},
    "content-ease": {"name": "content-ease"},
}


def saved(folder: Path, seed: int = 0, items: Sequence[str] = ITEMS, **model: Any) -> tuple[Path, Sequences]:
    """The folder of a run that counted but was not trained, and its data."""
    data = small.sequences()
    run = small.run(**model)
    stage = run.stages[-1]
    built = small.model(data, run, stage, seed)
    built.observe(data.training())
    place = folder / stage
    small.save(built, run, seed, list(items), place / "model.safetensors", place / "config.json")
    return folder, data


def names(data: Sequences, user: int, end: int | None = None) -> list[str]:
    begin, stop = data.offsets[user], data.offsets[user + 1]
    return [ITEMS[item] for item in data.items[begin:stop][:end]]


def alike(one: list[Any], other: list[Any]) -> bool:
    """Equal, but for the rounding of scores and the order of items whose scores differ by no more."""
    scores = [[item.score for item in found] for found in (one, other)]
    near = np.allclose(*scores, atol=1e-4)
    return near and all(a.item == b.item or abs(a.score - b.score) < 1e-4 for a, b in zip(one, other, strict=True))


def ids(found: list[Any]) -> list[str]:
    return [one.item for one in found]


@pytest.mark.parametrize("name", RUNS)
def test_lists_are_those_of_the_evaluation(name: str, tmp_path: Path) -> None:
    """After the history before the test item, with the history excluded and with it among the candidates."""
    folder, data = saved(tmp_path, **RUNS[name])
    trained = decorec.load(str(folder))
    first = TopLists(data, "test", 40)
    rank_by_history(trained.model, data, "test", first.add)
    for history, exclude in zip(HISTORIES, ("nothing", "bought"), strict=True):
        found = trained.recommend_many([names(data, user, -1) for user in range(60)], 12, exclude=exclude)
        expected = [[ITEMS[item] for item in row[:12]] for row in first.lists[history]]
        assert [ids(row) for row in found] == expected
        assert all(one.reason == "model" for row in found for one in row)
        scores = [[one.score for one in row] for row in found]
        assert scores == [sorted(row, reverse=True) for row in scores]


def test_one_history_is_like_many(tmp_path: Path) -> None:
    trained, data = load(tmp_path)
    many = trained.recommend_many([names(data, user) for user in range(5)], 5)
    for user, found in enumerate(many):
        assert alike(trained.recommend(names(data, user), 5), found)


def load(folder: Path, **model: Any) -> tuple[TrainedRun, Sequences]:
    place, data = saved(folder, **model)
    return decorec.load(place), data


def test_the_whole_history_is_excluded_not_the_window_alone(tmp_path: Path) -> None:
    trained, data = load(tmp_path, encoder={"length": 3})
    for user in range(10):
        history = names(data, user)
        assert len(history) > 3
        found = ids(trained.recommend(history, 40))
        assert sorted(found) == sorted(set(ITEMS) - set(history))
        assert len(trained.recommend(history, 40, exclude="nothing")) == 40


def test_unknown_items_are_passed_over(tmp_path: Path) -> None:
    trained, data = load(tmp_path)
    history = names(data, 0)
    assert trained.recommend(["other", *history[:2], "another", *history[2:]]) == trained.recommend(history)


def test_blanks_around_ids_do_not_count(tmp_path: Path) -> None:
    """As in the tables of a shop, from which the ids of the model are."""
    trained, data = load(tmp_path)
    history = names(data, 0)
    wide = [f" {item}\t" for item in history]
    best = ids(trained.recommend(history))
    assert ids(trained.recommend(wide)) == best
    only = [f" {item}" for item in best]
    assert ids(trained.recommend(history, exclude_items=[f"{best[0]}\n"], only=only)) == best[1:]
    assert trained.similar(" item 7 ", 5) == trained.similar("item 7", 5)
    assert np.array_equal(trained.embed(wide), trained.embed(history))


def test_who_bought_nothing_known_gets_what_is_popular(tmp_path: Path) -> None:
    """The counts of ``small.save`` are 0, 1, 2, ..."""
    trained, _ = load(tmp_path)
    for history in ([], ["unknown"]):
        found = trained.recommend(history, 3)
        assert ids(found) == ["item 39", "item 38", "item 37"]
        assert [(one.score, one.reason) for one in found] == [(39.0, "popular"), (38.0, "popular"), (37.0, "popular")]
        assert trained.recommend(history, 3, fallback="none") == []
    limited = trained.recommend([], 3, only=["item 5", "item 9", "item 7", "item 1"], exclude_items=["item 9"])
    assert ids(limited) == ["item 7", "item 5", "item 1"]


def test_only_and_exclude_items(tmp_path: Path) -> None:
    trained, data = load(tmp_path)
    history = names(data, 0)
    everything = ids(trained.recommend(history, 40))
    only = everything[5:15]
    assert ids(trained.recommend(history, 40, only=reversed(only))) == only
    assert ids(trained.recommend(history, 3, exclude_items=everything[:2])) == everything[2:5]
    assert ids(trained.recommend(history, 9, only=[*only, *history, "unknown"], exclude_items=only[:1])) == only[1:]
    for words in ({"only": ["unknown"]}, {"only": only, "exclude_items": only}):
        with pytest.raises(DecorecError, match=r"candidates: expected items of the model's 40 .* found none"):
            trained.recommend(history, **words)
    with pytest.raises(DecorecError, match="k: expected 1 or more, found 0"):
        trained.recommend(history, 0)


def test_arguments_that_would_change_nothing_are_refused(tmp_path: Path) -> None:
    """Numbers and a text in place of a list are unknown ids; another word for exclude would exclude nothing."""
    trained, data = load(tmp_path, name="sasrec")
    history: Any = names(data, 0)
    for call, message in (
        (lambda: trained.recommend([1, 2]), r"history: expected ids as text, found 1 \(int\)"),  # type: ignore[list-item]
        (lambda: trained.recommend("item 1"), "history: expected several ids, found the text 'item 1'"),
        (lambda: trained.recommend_many(history), "history: expected several ids, found the text"),
        (lambda: trained.recommend(history, exclude_items="item 1"), "exclude_items: expected several ids"),
        (lambda: trained.recommend(history, exclude_items=[3]), "exclude_items: expected ids as text"),  # type: ignore[list-item]
        (lambda: trained.recommend(history, only="item 1"), "only: expected several ids"),
        (lambda: trained.recommend(history, exclude="Bought"), "exclude: expected bought or nothing, found 'Bought'"),  # type: ignore[arg-type]
        (lambda: trained.recommend([], fallback="no"), "fallback: expected popular or none, found 'no'"),  # type: ignore[arg-type]
        (lambda: trained.recommend(history, 2.5), "k: expected 1 or more, found 2.5"),  # type: ignore[arg-type]
        (lambda: trained.recommend(history, True), "k: expected 1 or more, found True"),
        (lambda: trained.similar(7), r"item: expected ids as text, found 7 \(int\)"),  # type: ignore[arg-type]
        (lambda: trained.similar("item 1", 0), "k: expected 1 or more, found 0"),
        (
            lambda: trained.recommend(history, times=[5] * (len(history) - 1) + [4]),
            "in order, the oldest first, found 4",
        ),
        (
            lambda: trained.recommend(["item 1"], times=[1_600_000_000_000]),
            "expected seconds since 1970, found 16000000",
        ),
    ):
        with pytest.raises(DecorecError, match=message):
            call()
    assert trained.recommend_many([]) == []


def test_a_history_of_everything_leaves_nothing(tmp_path: Path) -> None:
    trained, _ = load(tmp_path)
    assert trained.recommend(ITEMS) == []
    assert ids(trained.recommend(ITEMS[:-1])) == ITEMS[-1:]
    assert len(trained.recommend(ITEMS, exclude="nothing")) == 12


def test_models_that_read_times_ask_for_them(tmp_path: Path) -> None:
    trained, data = load(tmp_path, name="hm4sr")
    history = names(data, 0)
    with pytest.raises(DecorecError, match="expected the time stamp of every item of the history, found none"):
        trained.recommend(history)
    assert ids(trained.recommend([], 1)) == ["item 39"], "there is no time to give"
    assert data.timestamps is not None
    times = data.timestamps[: len(history)].tolist()
    with_unknown = trained.recommend(["unknown", *history], times=[0, *times])
    assert ids(with_unknown) == ids(trained.recommend(history, times=times))
    with pytest.raises(DecorecError, match="expected one for each item of each history, found 1 for"):
        trained.recommend(history, times=times[:1])


def test_similar_items_have_the_largest_cosine(tmp_path: Path) -> None:
    trained, _ = load(tmp_path)
    vectors = trained.embed()
    assert np.allclose(np.square(vectors).sum(1), 1, atol=1e-5)
    with torch.no_grad():
        text, image = trained.model.item_representations().numpy()
    each = [x @ x[7] / np.linalg.norm(x, axis=1) / np.linalg.norm(x[7]) for x in (text, image)]
    expected = sum(each) / 2
    found = trained.similar("item 7", 5)
    order = [item for item in np.argsort(-expected, kind="stable") if item != 7][:5]
    assert ids(found) == [ITEMS[item] for item in order]
    assert [one.score for one in found] == pytest.approx(expected[order], abs=1e-5)
    assert np.array_equal(trained.embed(["item 7", "item 0"]), vectors[[7, 0]])
    assert len(trained.similar("item 7", 100)) == 39
    with pytest.raises(DecorecError, match="item 'x': expected one of the model's 40 items"):
        trained.similar("x")


def test_models_without_vectors_have_neighbours_and_say_so(tmp_path: Path) -> None:
    trained, _ = load(tmp_path, name="ease")
    assert trained.similar("item 7", 5) == trained.recommend(["item 7"], 5)
    with pytest.raises(DecorecError, match="ease: expected a model with a vector for each item"):
        trained.embed()
    timed, _ = load(tmp_path / "timed", name="vstan", l2=10.0)
    assert timed.similar("item 7", 5) == timed.recommend(["item 7"], 5, times=[0])


def test_a_copy_is_the_same_model(tmp_path: Path) -> None:
    folder, data = saved(tmp_path / "results/shop/runs/decorec/seed-0")
    copied = tmp_path / "elsewhere"
    shutil.copytree(folder / "stage2", copied)
    assert decorec.load(copied).recommend(names(data, 0)) == decorec.load(folder).recommend(names(data, 0))


def test_models_of_two_runs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Beside the model of a run that was configured anew, and with its configuration beside other weights."""
    folder = tmp_path / "results/shop/production"
    saved(folder)
    saved(folder, name="sasrec")
    with pytest.raises(DecorecError, match=r"expected one model, found .*/stage2 and .*/fit"):
        decorec.load(folder)
    assert decorec.load(folder / "fit").run.model.name == "sasrec"
    other, _ = saved(tmp_path / "results/shop/runs/logits/seed-0", scoring="logits")
    mixed = tmp_path / "mixed"
    shutil.copytree(folder / "stage2", mixed)
    shutil.copy(other / "stage2" / "config.json", mixed)
    with pytest.raises(DecorecError, match=r"written beside .*production/stage2/model.* found .*runs/logits/seed-0/"):
        decorec.load(mixed)
    train(folder.parent / "again" / "seed-0")
    weights = folder.parent / "again" / "seed-0" / "stage2"
    content = (weights / "model.safetensors").read_bytes()
    train(folder.parent / "again" / "seed-0", scoring="logits")
    (weights / "model.safetensors").write_bytes(content)
    with pytest.raises(DecorecError, match=r"expected a file that was made from .*config\.json as it is"):
        decorec.load(weights)


def test_what_is_no_trained_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match=r"expected the folder of a trained run .* found none; train the run"):
        decorec.load(tmp_path)
    data, run = small.sequences(), small.run()
    files = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(small.model(data, run, "stage1"), run, 0, ITEMS, *files)
    with pytest.raises(DecorecError, match=r"expected the last stage of the run \(stage2\), found stage1"):
        decorec.load(tmp_path)
