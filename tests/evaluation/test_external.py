"""Recommendations of other programs: places by hand, and all that cannot be compared is refused."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.config.external import ExternalConfig
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.external import Recommended, Targets
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.rank_metrics import Ranks

ITEMS = ["00", "01", "02", "03", "04", "05"]
DATA = Sequences(["b", "a"], np.array([0, 4, 8]), np.array([0, 1, 2, 3, 0, 4, 5, 5], np.int32))
"""User b had 0, 1, 2 and buys 3; user a had 0, 4, 5 and buys 5 again."""
LISTS = {"b": [4, 3, 0], "a": [1, 2, 3]}
TARGETS = {"b": 3, "a": 5}


def lists(found: dict[str, list[int]], **columns: Any) -> pl.DataFrame:
    """One row per user and item, with ranks."""
    rows = [(user, ITEMS[item], rank) for user, items in found.items() for rank, item in enumerate(items, start=1)]
    return pl.DataFrame(rows, schema=["user", "item", "rank"], orient="row").with_columns(**columns)


def places(**ranks: float) -> pl.DataFrame:
    return pl.DataFrame(
        {"user": list(ranks), "target": [ITEMS[TARGETS[user]] for user in ranks], "rank": ranks.values()}
    )


def find(folder: Path, table: pl.DataFrame, ending: str = "csv", **keys: Any) -> Any:
    file = folder / f"theirs.{ending}"
    table.write_csv(file) if ending == "csv" else table.write_parquet(file)
    section = ExternalConfig(path=str(file), **keys)
    return Targets(DATA, ITEMS).find(Recommended.read(file, "theirs", section))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_places_in_lists_by_hand(ending: str, tmp_path: Path) -> None:
    masked = find(tmp_path, lists(LISTS), ending)
    assert list(masked) == ["masked"], "nothing is known of the history kept"
    assert masked["masked"].ranks == Ranks(np.array([1, 50]), np.array([0, 0])), "user a's list lacks the target"
    # Without 0, which user b had, two items are left; that is one fewer than the three that could be.
    assert masked["masked"].depth == 2
    both = find(tmp_path, lists(LISTS | {"a": [5, 0, 1]}), ending, history="kept")
    assert both["kept"].ranks == Ranks(np.array([1, 0]), np.array([0, 0])) and both["kept"].depth == 3
    # 0 is no candidate of user a, but the target is, though it was bought before.
    assert both["masked"].ranks == both["kept"].ranks and both["masked"].depth == 2
    assert Targets(DATA, ITEMS).repeats == 1


def test_a_list_of_all_that_is_left_reaches_all_the_way_down(tmp_path: Path) -> None:
    found = find(tmp_path, lists({"b": [3, 4, 5], "a": [3, 2, 1]}))["masked"]
    assert found.depth == math.inf and found.ranks.higher[0] == 0
    for metric in map(parse_metric, REPORTED):
        assert metric(found.ranks).tolist() == [1, 0], f"{metric}: user a, who had 5 before, has no list with it"


def test_equal_scores_are_a_tie_and_the_order_of_rows_is_none(tmp_path: Path) -> None:
    table = lists({"b": [3, 4, 5], "a": [1, 2, 5]}, score=pl.Series([0.5, 0.5, 0.9, 3.0, 2.0, 1.0])).drop("rank")
    found = find(tmp_path, table.sample(fraction=1, shuffle=True, seed=0))["masked"]
    assert found.ranks == Ranks(np.array([1, 2]), np.array([1, 0]))


def test_distances_are_no_scores(tmp_path: Path) -> None:
    """Lists of ten, the best first: what rises in all of them is best where it is smallest."""
    names = [f"{item:02}" for item in range(10)]
    rows = [(user, item, float(place)) for user in "ba" for place, item in enumerate(names)]
    distances = pl.DataFrame(rows, schema=["user", "item", "score"], orient="row")
    section = ExternalConfig(path="theirs.csv")
    for table, refused in (
        (distances, True),
        (distances.with_columns(-pl.col("score")), False),
        (distances.sample(fraction=1, shuffle=True, seed=0), False),
        (distances.with_columns(score=1.0), False),
        (distances.with_columns(rank=pl.col("score") + 1), False),
    ):
        table.write_csv(tmp_path / "theirs.csv")
        with pytest.raises(DecorecError, match="rise from row to row of every user") if refused else nullcontext():
            Recommended.read(tmp_path / "theirs.csv", "theirs", section)


def test_other_names_of_columns_and_users_without_a_target(tmp_path: Path) -> None:
    names = {"user": "user_id", "item": "item_id"}
    table = lists(LISTS | {"stranger": [1, 2]}, score=1.0).rename(names)
    assert find(tmp_path, table, columns=names)["masked"].ranks.higher.tolist() == [1, 50], "rank goes before score"


def test_places_are_taken_as_they_are(tmp_path: Path) -> None:
    found = find(tmp_path, places(a=6, b=2))
    assert found["masked"].ranks == Ranks(np.array([1, 5]), np.array([0, 0])) and found["masked"].depth == math.inf
    assert list(find(tmp_path, places(a=1, b=2), history="kept")) == ["kept"]


@pytest.mark.parametrize(
    ("table", "keys", "message"),
    [
        (lists(LISTS).rename({"user": "u"}), {}, r"the columns user, found u, item, rank; add or rename user, or say "
         r"what they are called there: external\.theirs\.columns: \{user: \.\.\.\}"),
        (lists(LISTS).drop("rank"), {}, r"the columns user, item and rank or score .*found of these user, item"),
        (places(a=1, b=2).rename({"rank": "score"}), {}, r"found of these user, target, score; add the others"),
        (lists({"b": [3]}), {}, r"expected each of 2 users with a test target, found 1 of them, and not 'a'"),
        (lists({"0b": [3], "a": [1]}), {}, r"not 'b' \(but '0b': write ids as text\); give each"),
        (lists(LISTS, item=pl.col("item").str.strip_prefix("0")), {}, r"expected items of vocab.parquet, such as '00'"),
        (lists(LISTS, item=pl.col("item").replace("01", "1")), {}, r"found 1 others, such as '1' \(but '01': write"),
        (lists(LISTS, user=pl.col("user").replace("b", "7")), {}, r"and not 'b'"),
        (lists(LISTS, rank=pl.col("rank") - 1), {}, r"rows with user and item and a whole rank from 1 on, found 2 "
         r"others, such as \('b', '04', 0\.0\)"),
        (lists(LISTS, rank=pl.lit(1)), {}, r"user 'b': expected each rank once, found one twice"),
        (lists({"b": [4, 4], "a": [1]}), {}, r"user 'b': expected each item once"),
        (lists(LISTS, score=pl.lit("best")).drop("rank"), {}, r"a score, found 6 others, such as \('b', '04', None\)"),
        (lists(LISTS).clear(), {}, r"found none"),
        (lists({"b": [4, 3], "a": [1]}), {"history": "kept"}, r"found no list with an item of its user's history, .*"
         r"external\.theirs\.history: masked"),
        (places(a=7, b=1), {}, r"of user 'a' the target '05' and a rank of at most 6, found '05' and 7"),
        (places(a=1, b=1).with_columns(target=pl.lit("02")), {}, r"the target '05' and a rank .*found '02' and 1 \(2 "),
        (pl.concat([places(a=1, b=1)] * 2), {}, r"user 'b': expected each user once"),
        (lists(LISTS, user=1.5), {}, r"column 'user': expected ids as text or whole numbers, found Float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    table: pl.DataFrame, keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DecorecError, match=message):
        find(tmp_path, table, "parquet", **keys)


def test_files_are_found_by_data_set_and_seed() -> None:
    section = ExternalConfig(path="out/{dataset}/best-{seed}.csv")
    files = [Path(f"out/{name}/best-{seed}.csv") for name in ("shop", "shop-2") for seed in (0, 12)]
    assert section.files_of("shop", files) == {0: files[0], 12: files[1]}
    assert ExternalConfig(path="./best.csv").files_of("shop", [Path("best.csv"), *files]) == {0: Path("best.csv")}
    with pytest.raises(ValueError, match="expected a path with no braces but"):
        ExternalConfig(path="{run}.csv")
