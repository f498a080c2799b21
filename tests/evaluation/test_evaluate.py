"""The step evaluate: the file of ranks, what it refuses, and candidates with the history masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from decorec.artifacts.schemas.lists import LISTS
from decorec.artifacts.schemas.ranks import EVALUATED, HISTORIES, RANKS
from decorec.data.batches import Batch
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.evaluate import evaluate
from decorec.evaluation.full_ranking import candidates, rank_by_history, score_users
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranks_table import ranks_table
from decorec.evaluation.top_lists import TopLists
from decorec.models.base import Recommender
from decorec.models.popularity import Popularity
from tests.support import small
from tests.support.fabricated_ranks import user_value

ITEMS = 40


def step(folder: Path, data: Sequences, model: Recommender, name: str) -> dict[str, Any]:
    """Evaluate ``model`` from files; returns the arguments of the step."""
    files = {
        argument: folder / argument
        for argument in ("vocab", "sequences", "model", "config", "ranks", "validation", "lists", "metrics")
    }
    names = [f"i{number}" for number in range(ITEMS)]
    write_vocab(files["vocab"], names)
    data.write(files["sequences"])
    small.save(model, small.run(name=name), 0, names, files["model"], files["config"])
    evaluate(**files)
    return files


def floor(data: Sequences, name: str) -> Recommender:
    model = small.model(data, small.run(name=name), "fit")
    model.observe(data.training())
    return model


@pytest.mark.parametrize(("part", "file", "later"), [("test", "ranks", 0), ("valid", "validation", 1)])
@pytest.mark.parametrize(("history", "suffix"), [("kept", ""), ("masked", "_masked")])
def test_the_files_have_the_counts_and_the_metrics_are_the_means_over_ties(
    history: str, suffix: str, part: str, file: str, later: int, tmp_path: Path
) -> None:
    data = small.sequences()
    files = step(tmp_path, data, floor(data, "popularity"), "popularity")
    frame = pl.read_parquet(files[file])
    columns = RANKS | EVALUATED if part == "test" else RANKS
    assert {name: frame.schema[name] for name in columns} == columns
    counts = np.bincount(data.training().items, minlength=ITEMS)
    places = []
    for row, begin, end in zip(frame.iter_rows(named=True), data.offsets[:-1], data.offsets[1:], strict=True):
        *past, target = data.items[begin : end - later].tolist()
        others = np.delete(counts, [target, *past] if history == "masked" else [target])
        places.append(((others > counts[target]).sum(), (others == counts[target]).sum()))
        assert row["target"] == target
        assert row.get("history_length", len(past)) == len(past)
    assert frame.select(f"higher{suffix}", f"equal{suffix}").rows() == places
    assert frame[f"equal{suffix}"].max() > 2
    for metric, mean in json.loads(files["metrics"].read_text())[part][history].items():
        assert mean == pytest.approx(np.mean([user_value(metric, np.array(place)) for place in places]), rel=1e-13)


@pytest.mark.parametrize("items", [40, 90])
@pytest.mark.parametrize("same", [True, False])
def test_the_lists_are_the_first_items_by_score_and_item_with_the_history_and_without(same: bool, items: int) -> None:
    """Few different scores and -inf from the model itself; users with up to 30 items, so that 90 leave 60 or more."""
    data = small.sequences(items=items, longest=30)
    random = np.random.default_rng(0)
    scores = {
        history: np.where(random.random((60, items)) < 0.4, -np.inf, random.integers(0, 9, (60, items)))
        for history in HISTORIES
    }
    if same:
        scores["masked"] = scores["kept"]
    found = TopLists(data, "test", items)
    for chosen in np.array_split(random.permutation(60), 7):
        kept, masked = (torch.from_numpy(scores[history][chosen]) for history in HISTORIES)
        found.add(chosen, {"kept": kept, "masked": kept if same else masked})
    frame = found.table(Path("lists.parquet"))
    assert frame.schema == LISTS
    expected = []
    for history in HISTORIES:
        for user, begin, end in zip(range(60), data.offsets[:-1], data.offsets[1:], strict=True):
            gone = set(data.items[begin : end - 1].tolist()) if history == "masked" else set()
            order = sorted(set(range(items)) - gone, key=lambda item: (-scores[history][user, item], item))
            expected.append((f"u{user}", history, order[:50]))
    assert frame.rows() == expected
    lengths = {len(order) for _, _, order in expected}
    assert lengths == {50} if items == 90 else max(lengths) == 40 > min(lengths)


def test_the_file_of_lists_agrees_with_the_file_of_ranks(tmp_path: Path) -> None:
    data = small.sequences()
    files = step(tmp_path, data, floor(data, "item-knn"), "item-knn")
    ranks, lists = (pl.read_parquet(files[name]) for name in ("ranks", "lists"))
    assert lists.schema == LISTS
    kept = lists.filter(history="kept").join(ranks, on="user", maintain_order="left")
    places = [row["items"].index(row["target"]) for row in kept.rows(named=True)]
    higher, equal = kept["higher"].to_list(), kept["equal"].to_list()
    assert all(low <= place <= low + ties for place, low, ties in zip(places, higher, equal, strict=True))


@pytest.mark.parametrize("name", ["popularity", "content-ease"])
def test_by_time_only_users_with_a_target_have_a_row_and_cold_targets_are_ranked_among_cold_items_too(
    name: str, tmp_path: Path
) -> None:
    data = small.by_time(small.sequences())
    model = floor(data, name)
    files = step(tmp_path, data, model, name)
    frame = pl.read_parquet(files["ranks"])
    training, tested = data.training(), data.having("test")
    counts = np.bincount(training.items, minlength=ITEMS)
    cold = np.flatnonzero(counts == 0)
    late = [user for user in range(len(data.users)) if data.parts.test[user] >= 0]
    assert frame["user"].to_list() == [data.users[user] for user in late] and 10 < len(late) < len(data.users)
    assert frame["training_length"].to_list() == training.lengths[late].tolist()
    assert frame["history_length"].to_list() == data.parts.test[late].tolist()
    scores = {}
    for chosen, found, _ in score_users(model, tested, "test"):
        scores |= dict(zip(chosen.tolist(), found["kept"], strict=True))
    for number, (row, user) in enumerate(zip(frame.iter_rows(named=True), late, strict=True)):
        history = data.items[data.offsets[user] : data.offsets[user] + data.parts.test[user]]
        assert row["target"] == data.items[data.offsets[user] + len(history)]
        assert row["target_count"] == counts[row["target"]]
        among = {"": np.arange(ITEMS), "_masked": np.setdiff1d(np.arange(ITEMS), history)}
        if row["target_count"] == 0:
            among["_cold"] = cold
        else:
            assert row["higher_cold"] is None and row["equal_cold"] is None
        for end, candidates_of in among.items():
            others = scores[number][np.setdiff1d(candidates_of, row["target"])]
            own = scores[number][row["target"]]
            higher, equal = int((others > own).sum()), int((others == own).sum())
            assert (row[f"higher{end}"], row[f"equal{end}"]) == (higher, equal)
    some = frame.filter(target_count=0)
    assert len(some) > 3
    if name == "popularity":  # what knows only interactions scores them all equal: Hit@k is k / n
        assert set(some["equal_cold"]) == {len(cold) - 1}
    else:
        assert set(some["equal_cold"]) == {0}
    found = json.loads(files["metrics"].read_text())
    hits = [user_value("Hit@10", np.array(place)) for place in frame.select("higher", "equal").rows()]
    assert found["users"] == len(late) and found["test"]["kept"]["Hit@10"] == pytest.approx(np.mean(hits))


class NeverTheLatest(Popularity):
    """A model that gives -inf itself."""

    def scores(self, batch: Batch, representations: Tensor) -> Tensor:
        scores = super().scores(batch, representations)
        return scores.scatter(1, batch.items[batch.predict, None], -torch.inf)


def test_masked_items_tie_with_nothing_and_a_target_bought_before_stays_a_candidate() -> None:
    """The latest item has -inf from the model; here it is the target again, and most others are masked."""
    walk = [0, 1, 2, 3, 2, 4, 4]
    data = Sequences(["u", "v"], np.array([0, 7, 14]), np.array(walk + walk[::-1], dtype=np.int32))
    run = small.run(name="popularity")
    model = NeverTheLatest(run.model, small.item_data(data, run), "fit")
    model.observe(data.training())
    kept, masked = rank_by_history(model, data, "test").values()
    assert (kept.higher[0], kept.equal[0]) == (ITEMS - 1, 0)
    among = candidates(data, "test", ITEMS)["masked"]
    assert among.tolist() == [ITEMS - 4, ITEMS - 4], "0 to 3 are masked; 1 to 4 are masked"
    assert (masked.higher[0], masked.equal[0]) == (among[0] - 1, 0), "last of the candidates, tied with no masked item"
    assert candidates(data, "valid", ITEMS)["masked"].tolist() == [ITEMS - 4, ITEMS - 3]
    assert candidates(data, "test", ITEMS)["kept"].tolist() == [ITEMS, ITEMS]


@pytest.mark.parametrize(
    ("higher", "equal", "found"),
    [
        ([0, -1, 3], [0, -1, 0], r"user 'u1' \(history HISTORY\), found -1 higher and -1 equal"),
        ([0, 2, 3], [0, -1, 0], r"user 'u1' \(history HISTORY\), found 2 higher and -1 equal"),
        ([0, 2, 5], [0, 2, 5], r"user 'u2' \(history HISTORY\), found 5 higher and 5 equal"),
        ([0, 2, 10], [0, 2, 0], r"user 'u2' \(history HISTORY\), found 10 higher and 0 equal"),
        ([0, 2], [0, 2], "expected one row for each of 3 users, found 3 sequences and 2 ranks"),
    ],
)
@pytest.mark.parametrize("history", ["kept", "masked"])
def test_counts_that_cannot_be_are_refused(
    history: str, tmp_path: Path, higher: list[int], equal: list[int], found: str
) -> None:
    data = Sequences(["u0", "u1", "u2"], np.array([0, 3, 6, 9]), np.zeros(9, np.int32))
    among = {name: np.full(3, 10) for name in HISTORIES}
    right = {name: Ranks(np.array([0, 9, 3]), np.array([9, 0, 6])) for name in HISTORIES}
    ranks_table(tmp_path / "ranks.parquet", data, "test", right, among)
    wrong = right | {history: Ranks(np.array(higher), np.array(equal))}
    with pytest.raises(DecorecError, match=f"ranks.parquet: .*{found.replace('HISTORY', history)}"):
        ranks_table(tmp_path / "ranks.parquet", data, "test", wrong, among)


def test_a_user_twice_is_refused(tmp_path: Path) -> None:
    data = small.sequences()
    data.users[1] = data.users[0]
    with pytest.raises(DecorecError, match="expected one row for each of 59 users, found 60 sequences and 60 ranks"):
        step(tmp_path, data, floor(data, "popularity"), "popularity")
    assert not (tmp_path / "ranks").exists()


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    data = small.sequences()
    model = small.model(data, small.run(name="sasrec"), "fit")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(DecorecError, match=r"expected numbers, found NaN; training diverged"):
        step(tmp_path, data, model, "sasrec")
    assert not (tmp_path / "ranks").exists()
