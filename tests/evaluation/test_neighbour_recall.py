"""Recall without training, counted again the plain way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from scipy.stats import rankdata

from decorec.artifacts.files import write_sparse
from decorec.config.prepare import GraphConfig
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.neighbour_recall import (
    VIEWS,
    Neighbours,
    first,
    intersect,
    nearest_by_features,
    nearest_in_graph,
    neighbour_recall,
    predict,
)
from decorec.prepare.cooccurrence import count_pairs
from decorec.tables.recall import recall_table
from tests.support import small
from tests.support.fabricated_ranks import NAMES, assert_tex_is_well_formed, html_root, records

ITEMS = [f"i{number}" for number in range(40)]


def files(folder: Path, data: Sequences) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {name: folder / name for name in ("vocab", "sequences", "cooccurrence")}
    found["features"] = [folder / "text.safetensors", folder / "image.safetensors"]
    write_vocab(found["vocab"], ITEMS)
    data.write(found["sequences"])
    write_sparse(found["cooccurrence"], count_pairs(data.training(), 40, GraphConfig()))
    random = np.random.default_rng(1)
    for file in found["features"]:
        x = random.normal(size=(40, 12)).astype(np.float32)
        FeatureFile(x, np.ones(40, dtype=bool), ITEMS).write(file)
    return found


def neighbours(pairs: dict[int, list[int]]) -> Neighbours:
    rows = [(i, j, level, -float(level)) for i, others in pairs.items() for level, j in enumerate(others, 1)]
    item, other, level, score = (np.array(column) for column in zip(*rows, strict=True))
    return Neighbours(item, other, level.astype(float), score)


def test_neighbours_by_hand() -> None:
    data = small.sequences()
    matrix = count_pairs(data.training(), 40, GraphConfig())
    dense = matrix.toarray()
    near = nearest_in_graph(matrix)
    mine = near.other[near.item == 7]
    assert mine[0] == dense[7].argmax()
    assert (np.diff(dense[7][mine]) <= 0).all()
    assert near.level[near.item == 7].tolist() == rankdata(-dense[7][mine]).tolist(), "the mean place of a tie"
    features = [np.random.default_rng(seed).normal(size=(40, 12)).astype(np.float32) for seed in (0, 1)]
    alike = nearest_by_features(features)
    cosine = sum(x @ x[7] / np.linalg.norm(x, axis=1) / np.linalg.norm(x[7]) for x in features)
    assert alike.other[alike.item == 7].tolist() == [i for i in np.argsort(-cosine, kind="stable") if i != 7]


@pytest.mark.parametrize(("alike", "most", "found"), [(3, 2, 3), (4, 2, 0), (4, 3, 4), (4, 1, 0)])
def test_a_tie_on_the_last_place_is_whole_or_left_out(
    alike: int, most: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tie on the places 1 to n, the mean place is (n + 1) / 2: in the graph and in the features likewise."""
    monkeypatch.setattr("decorec.evaluation.neighbour_recall.NEAREST", most)
    features = np.eye(2, dtype=np.float32)[[1] * 2 + [0] * (alike + 1)]  # the first two are alike, and the others
    matrix = csr_array((features @ features.T) * (1 - np.eye(alike + 3)))
    for near in (nearest_by_features([features]), nearest_in_graph(matrix)):
        of_last = near.item == alike + 2
        assert sorted(near.other[of_last].tolist()) == [*range(2, alike + 2)][:found]
        assert (near.level[of_last] == (alike + 1) / 2).all()


def test_both_views_need_both_levels() -> None:
    both = intersect(neighbours({0: [1, 2, 3]}), neighbours({0: [3, 4, 1], 5: [0]}))
    assert dict(zip(both.other.tolist(), both.level.tolist(), strict=True)) == {1: 3, 3: 3}


def test_predictions_by_hand() -> None:
    """History 0, 1 (target 9): nearest first, an item once, nothing from the history."""
    data = Sequences(["u"], np.array([0, 3]), np.array([0, 1, 9], dtype=np.int32))
    near = neighbours({0: [1, 5, 6], 1: [5, 9, 7]})
    assert predict(data, near, 2)["other"].to_list()[:2] == [5, 9]
    assert sorted(predict(data, near, 99)["other"].to_list()) == [5, 6, 7, 9]


def test_within_a_level_the_scores_of_that_level_decide_however_many_are_asked_for() -> None:
    """Item 5 is third beside item 0 (score 0.5) and fourth beside item 1 (0.9); item 6 is third beside item 2 (0.6)."""
    data = Sequences(["u", "v"], np.array([0, 3, 6]), np.array([0, 1, 9, 3, 2, 9], dtype=np.int32))
    columns = zip((0, 5, 3, 0.5), (1, 5, 4, 0.9), (2, 6, 3, 0.6), (0, 7, 1, 5.0), (2, 7, 2, 5.0), strict=True)
    item, other, level, score = map(np.array, columns)
    near = Neighbours(item, other, level.astype(float), score.astype(float))
    every = [(0, 7, 1.0, 5.0), (1, 7, 2.0, 5.0), (1, 6, 3.0, 0.6), (0, 5, 3.0, 0.5)]
    for count, limited in ((1, 1), (2, 2), (3, 4), (4, 4), (99, 4)):
        assert predict(data, near, count).rows() == every[:limited]


def test_the_last_predictions_share_what_is_left() -> None:
    ordered = pl.DataFrame({"level": [1.0, 2.0, 2.0, 2.0, 2.0, 3.0], "score": [1.0, 5.0, 4.0, 4.0, 4.0, 4.0]})
    expected = {1: [1], 2: [1, 1], 3: [1, 1] + 3 * [1 / 3], 4: [1, 1] + 3 * [2 / 3], 5: 5 * [1], 6: 6 * [1], 9: 6 * [1]}
    for count, shares in expected.items():
        assert first(ordered, count)["share"].to_list() == pytest.approx(shares, abs=1e-15)


def test_the_numbering_of_items_and_users_decides_nothing(tmp_path: Path) -> None:
    """Scores that tie often: numbered anew, every user has the same hits and predictions."""
    data, random = small.sequences(users=80), np.random.default_rng(4)
    found = files(tmp_path / "one", data)
    for file in found["features"]:
        x = np.eye(8, dtype=np.float32)[random.integers(0, 8, 40)]
        FeatureFile(x, np.ones(40, dtype=bool), ITEMS).write(file)
    items, users = random.permutation(40), random.permutation(80)  # the number of old item i is items[i]
    parts = [items[data.items[data.offsets[user] : data.offsets[user + 1]]] for user in users]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    anew = Sequences([data.users[user] for user in users], offsets, np.concatenate(parts).astype(np.int32))
    other = files(tmp_path / "two", anew) | {"features": found["features"]}
    names = [ITEMS[old] for old in np.argsort(items)]
    write_vocab(other["vocab"], names)
    frames = []
    for number, given in enumerate((found, other)):
        neighbour_recall(**given, predictions=3, recall=tmp_path / f"{number}.parquet")
        frames.append(pl.read_parquet(tmp_path / f"{number}.parquet").sort("view", "user"))
    assert frames[0].select("view", "user").equals(frames[1].select("view", "user"))
    for column in ("hits", "predictions"):
        np.testing.assert_allclose(frames[0][column], frames[1][column], rtol=1e-12)
    assert (frames[0]["hits"] % 1 > 0).any(), "a target competes for the last predictions"


def test_views_have_equally_many_predictions_and_their_hits_are_targets(tmp_path: Path) -> None:
    data = small.sequences(users=300)
    neighbour_recall(**files(tmp_path, data), predictions=2, recall=tmp_path / "recall.parquet")
    frame = pl.read_parquet(tmp_path / "recall.parquet")
    totals = frame.group_by("view", maintain_order=True).agg(pl.col("predictions").sum(), pl.col("hits").sum())
    assert totals["view"].to_list() == list(VIEWS)
    assert totals["predictions"].round(9).n_unique() == 1
    assert 300 < totals["predictions"][0] < 600.1
    assert frame["hits"].max() == 1
    assert (frame["hits"] <= frame["predictions"] + 1e-12).all()
    hits = dict(zip(totals["view"], totals["hits"], strict=True))
    assert hits["interest"] > 2 * hits["modal-similarity"], "the features are noise, the walks have structure"


def test_the_table_sums_up(tmp_path: Path) -> None:
    found = []
    for dataset in ("scientific", "shop"):
        file = tmp_path / dataset / "recall.parquet"
        neighbour_recall(**files(tmp_path / dataset, small.sequences()), predictions=3, recall=file)
        found.append(file)
    outputs = {kind: tmp_path / f"recall.{kind}" for kind in ("csv", "tex", "html", "md")}
    recall_table(recalls=found, paper=NAMES, **outputs)
    rows = records(outputs["csv"])
    assert [(row["dataset"], row["view"]) for row in rows] == [(d, v) for d in ("scientific", "shop") for v in VIEWS]
    for row in rows:
        part = pl.read_parquet(tmp_path / row["dataset"] / "recall.parquet").filter(view=row["view"])
        assert float(row["hits"]) == pytest.approx(part["hits"].sum(), abs=1e-6)
        assert float(row["precision"]) == pytest.approx(part["hits"].sum() / part["predictions"].sum(), abs=1e-6)
    assert rows[2]["paper_hits"] == "354.000000"
    assert rows[3]["paper_hits"] == ""
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=5)
    assert len(html_root(outputs["html"]).findall(".//tbody")) == 2


def test_without_predictions_there_is_no_precision(tmp_path: Path) -> None:
    """Three users of 11 items with one training item each: nothing occurs together, so no view predicts anything."""
    data = Sequences(["u", "v", "w"], np.array([0, 3, 6, 9]), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8], dtype=np.int32))
    found, recall = files(tmp_path, data), tmp_path / "shop" / "recall.parquet"
    recall.parent.mkdir()
    neighbour_recall(**found, predictions=10, recall=recall)
    outputs = {kind: tmp_path / f"recall.{kind}" for kind in ("csv", "tex", "html", "md")}
    recall_table(recalls=[recall], paper=NAMES, **outputs)
    rows = records(outputs["csv"])
    assert [(row["hits"], row["predictions"], row["precision"]) for row in rows] == [("0.000000", "0", "")] * 3
    assert "<strong>" not in outputs["html"].read_text()


def test_a_graph_of_other_items_is_refused(tmp_path: Path) -> None:
    found = files(tmp_path, small.sequences())
    write_vocab(found["vocab"], ITEMS[:39])
    with pytest.raises(DecorecError, match="39 x 39"):
        neighbour_recall(**found, predictions=3, recall=tmp_path / "recall.parquet")
