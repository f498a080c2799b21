"""The table of recommendations of other programs beside the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.config import load
from decorec.config.external import ExternalRuns
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.plan.plan import Plan
from decorec.tables.external import external_table
from docs.generate.notebook import blocks
from tests.support.fabricated_ranks import (
    EVALUATE,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    markdown_rows,
    outputs_of,
    records,
    write_ranks,
)
from tests.support.workplace import REPOSITORY

USERS, ITEMS = 8, 60
NAMES = [f"i{number}" for number in range(ITEMS)]
BOUGHT = np.array([[50, 51, 52, user] for user in range(USERS)], np.int32)
"""What each user had, the target last, as in the files of ``write_ranks``."""
PLACES = {"decorec": [0, 1, 2, 9, 10, 3, 40, 55], "sasrec": [5, 0, 9, 9, 30, 8, 2, 58]}


def write_lists(file: Path, higher: list[int], length: int) -> None:
    """Lists with the history kept, whose targets have so many items before them."""
    rows = []
    for user, before in enumerate(higher):
        others = [50, *(item for item in range(ITEMS) if item not in (50, user))]
        items = [*others[:before], user, *others[before:]][:length]
        rows += [(f"user {user:02}", NAMES[item], -float(place)) for place, item in enumerate(items)]
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=["user", "item", "score"], orient="row").write_csv(file)


def world(folder: Path, bought: np.ndarray = BOUGHT) -> dict[str, Any]:
    shop = folder / "shop"
    shop.mkdir()
    write_vocab(shop / "vocab.parquet", NAMES)
    users = [f"user {user:02}" for user in range(USERS)]
    Sequences(users, np.arange(USERS + 1) * 4, bought.ravel()).write(shop / "sequences.parquet")
    ranks = [
        write_ranks(shop / "runs" / run / "seed-0" / "ranks.parquet", np.array([[place, 0] for place in places]))
        for run, places in PLACES.items()
    ]
    return {
        "ranks": ranks,
        "vocabs": [shop / "vocab.parquet"],
        "sequences": [shop / "sequences.parquet"],
        "runs": [*PLACES],
        "reference": "decorec",
        "evaluate": EVALUATE,
    }


def test_lists_of_a_run_give_what_the_run_has(tmp_path: Path) -> None:
    given, outputs = world(tmp_path), outputs_of(tmp_path, "external")
    write_lists(tmp_path / "theirs/shop-0.csv", PLACES["sasrec"], 50)
    write_lists(tmp_path / "theirs/shop-3.csv", PLACES["sasrec"], 50)
    write_lists(tmp_path / "theirs/short.csv", PLACES["decorec"], 12)
    sections = {
        "same": {"path": str(tmp_path / "theirs/{dataset}-{seed}.csv"), "history": "kept"},
        "short": {"path": str(tmp_path / "theirs/short.csv")},
    }
    given["lists"] = sorted((tmp_path / "theirs").iterdir())
    external_table(**given, external=ExternalRuns.model_validate(sections), **outputs)
    rows = {(row["history"], row["model"], row["metric"]): row for row in records(outputs["csv"])}
    for metric in ("Hit@10", "NDCG@10", "MRR@10", "Hit@50", "NDCG@50", "MRR@50"):
        own, theirs = (rows["kept", name, metric] for name in ("sasrec", "same"))
        assert (own["origin"], own["seeds"], own["std"]) == ("run", "1", "")
        assert (theirs["origin"], theirs["seeds"], theirs["std"]) == ("external", "2", "0.000000")
        for key in ("mean", "ci_low", "ci_high", "p_value"):
            assert own[key] == theirs[key], f"{metric} {key}"
    beyond = ("Coverage", "Gini", "Popularity", "PopularityShare", "Novelty", "TailShare")
    short = {(history, metric) for history, model, metric in rows if model == "short"}
    known = {("masked", f"{name}@10") for name in ("Hit", "NDCG", "MRR", *beyond)}
    assert short == known, "of the rest nothing is known"
    # Without item 50 at the top, a target behind it moves up by one; the tenth place is that of higher = 10.
    hits = sum(max(before - 1, 0) < 10 for before in PLACES["decorec"])
    assert rows["masked", "short", "Hit@10"]["mean"] == f"{hits / USERS:.6f}"
    printed = [row for row in markdown_rows(outputs["md"]) if row[0].startswith("short")]
    assert len(printed) == 1 and printed[0][2] == "" and printed[0][1]
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=7)


def test_lists_are_measured_beyond_accuracy_and_places_cannot_be(tmp_path: Path) -> None:
    """In training everybody had the items 50 and 51, and nobody any other."""
    given, outputs = world(tmp_path), outputs_of(tmp_path, "external")
    write_lists(tmp_path / "lists.csv", PLACES["sasrec"], 12)
    places = [(f"user {user:02}", NAMES[user], place + 1) for user, place in enumerate(PLACES["sasrec"])]
    pl.DataFrame(places, schema=["user", "target", "rank"], orient="row").write_csv(tmp_path / "places.csv")
    sections = {name: {"path": str(tmp_path / f"{name}.csv"), "history": "kept"} for name in ("lists", "places")}
    given["lists"] = [tmp_path / "lists.csv", tmp_path / "places.csv"]
    external_table(**given, external=ExternalRuns.model_validate(sections), **outputs)
    rows = [row for row in records(outputs["csv"]) if row["origin"] == "external"]
    found = {(row["model"], row["history"], row["metric"]): float(row["mean"]) for row in rows}
    first = []
    for user, before in enumerate(PLACES["sasrec"]):
        others = [50, *(item for item in range(ITEMS) if item not in (50, user))]
        first.append([*others[:before], user, *others[before:]][:10])
    counts = np.sort(np.bincount(np.ravel(first), minlength=ITEMS))
    differences = np.abs(counts[:, None] - counts).sum()
    had = np.mean([50 in items for items in first]) / 10
    expected = {
        "Coverage@10": (counts > 0).mean(),
        "Gini@10": differences / (2 * ITEMS * counts.sum()),
        "Popularity@10": USERS * had,
        "PopularityShare@10": had / 2,
        "Novelty@10": np.log2(USERS) * (1 - had),
        "Repeats@10": had,
    }
    for metric, value in expected.items():
        assert found["lists", "kept", metric] == pytest.approx(value, abs=1e-6), metric
    assert ("lists", "masked", "Coverage@10") in found and ("lists", "masked", "Repeats@10") not in found
    assert {metric for model, _, metric in found if model == "places" and metric.startswith("Cov")} == set()
    assert f"lists: Coverage@10 {expected['Coverage@10']:.4f}, Gini@10 " in outputs["md"].read_text()


def test_users_who_had_their_target_before_are_counted(tmp_path: Path) -> None:
    bought = BOUGHT.copy()
    bought[2, 0] = 2
    given, outputs = world(tmp_path, bought), outputs_of(tmp_path, "external")
    write_lists(tmp_path / "theirs.csv", PLACES["sasrec"], 50)
    external = ExternalRuns.model_validate({"theirs": {"path": str(tmp_path / "theirs.csv")}})
    external_table(**given, lists=[tmp_path / "theirs.csv"], external=external, **outputs)
    assert "shop: 1 of 8 users had their target before" in outputs["md"].read_text()


@pytest.mark.parametrize(
    ("length", "changes", "message"),
    [
        (9, {}, r"theirs.csv: expected lists of at least 10 items for every user, .*found one of 8; .*\(50 reach all"),
        (50, {"lists": []}, r"--lists: expected .*theirs.csv for the data set 'shop', found none; pass the file"),
        (50, {"reference": "ease"}, r"--reference: expected one of decorec, sasrec, found 'ease'"),
    ],
)
def test_what_makes_no_table_is_refused(length: int, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    write_lists(file, PLACES["sasrec"], length)
    external = ExternalRuns.model_validate({"theirs": {"path": str(file)}})
    given = world(tmp_path) | {"lists": [file], "external": external} | changes
    with pytest.raises(DecorecError, match=message):
        external_table(**given, **outputs_of(tmp_path, "external"))


def test_runs_of_other_sequences_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    write_lists(file, PLACES["sasrec"], 50)
    external = ExternalRuns.model_validate({"theirs": {"path": str(file)}})
    given = world(tmp_path, BOUGHT[::-1].copy())
    with pytest.raises(DecorecError, match=r"ranks.parquet: expected the users and targets of --sequences, found"):
        external_table(**given, lists=[file], external=external, **outputs_of(tmp_path, "external"))


def test_the_configuration_names_the_files() -> None:
    values = {
        "datasets": {"shop": {"source": "sample"}},
        "seeds": [3, 5],
        "tables": {"main": ["decorec"]},
        "external": {"bpr": {"path": "theirs/{dataset}/bpr-{seed}.csv"}, "als": {"path": "theirs/als.csv"}},
    }
    plan = Plan(load(values))
    assert "external" in plan.printed_tables()
    files = plan.table_files("external")
    assert files["lists"] == ["theirs/shop/bpr-3.csv", "theirs/shop/bpr-5.csv", "theirs/als.csv"]
    assert files["vocabs"] == ["results/shop/vocab.parquet"] and len(files["ranks"]) == 2
    assert json.dumps({"path": "theirs/als.csv", "history": "masked", "columns": {}}) in plan.external()
    assert "external" not in Plan(load(values | {"external": {}})).tables()
    for changes, message in (
        ({"external": {"decorec": {"path": "a.csv"}}}, r"external\.decorec: expected a name that no run has"),
        (
            {"external": {"Their": {"path": "a.csv"}}},
            r"names are lower-case letters, .*, found 'Their'",
        ),
        (
            {"datasets": {name: {"source": "sample"} for name in ("shop", "other")}},
            r"external\.als\.path: expected \{dataset\} in it, .*, found 'theirs/als.csv'",
        ),
    ):
        with pytest.raises(DecorecError, match=message):
            load(values | changes)


def test_the_page_writes_the_split_and_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/how-to/other-libraries.md; its lists are read as those of another program."""
    page = (REPOSITORY / "docs/how-to/other-libraries.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    given = world(tmp_path / "results")
    Path("results/shop").rename("results/sample")
    given = {key: [Path(str(file).replace("/shop/", "/sample/")) for file in given[key]] for key in ("vocabs", "ranks")}
    lists = pl.DataFrame(
        {"user": [f"user {user:02}" for user in range(USERS)], "history": "masked", "items": [[7, 8, 9]] * USERS},
        schema_overrides={"items": pl.List(pl.Int32)},
    )
    lists.write_parquet(given["ranks"][0].parent / "lists.parquet")
    exec("\n".join(blocks(page)), {})
    table = pl.read_csv("theirs/sample.csv")
    assert table.columns == ["user", "item", "timestamp", "part"]
    assert table.filter(user="user 03").select("item", "part").rows() == [
        ("i50", "train"),
        ("i51", "train"),
        ("i52", "valid"),
        ("i3", "test"),
    ]
    lines = Path("theirs/sample.valid.inter").read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token\ttimestamp:float" and len(lines) == 1 + USERS
    assert Path("theirs/decorec.csv").read_text().splitlines()[:3] == ["user,item,rank", "user 00,i7,1", "user 00,i8,2"]
