"""The table of what is recommended: rows, seeds, intervals, and files that do not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import write_table
from decorec.artifacts.schemas.lists import LISTS
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.tables.beyond import beyond_table
from tests.support.fabricated_ranks import (
    EVALUATE,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    outputs_of,
    records,
)

ITEMS = [f"i{number}" for number in range(12)]
DATA = Sequences(["b", "a"], np.array([0, 4, 8]), np.array([0, 1, 2, 3, 0, 4, 5, 5], np.int32))
"""User b had 0, 1, 2 and buys 3; user a had 0, 4, 5 and buys 5 again. In training: 0 twice, 1 and 4 once."""
KEPT = {"a": [5, 0, 6], "b": list(range(12))}
OTHER = {"a": [5, 4, 0], "b": list(range(12))}
MASKED = {"a": [6, 7], "b": []}


def write_lists(folder: Path, run: str, seed: int, kept: dict[str, list[int]], masked: dict[str, list[int]]) -> Path:
    rows = [
        (user, history, items)
        for history, lists in (("kept", kept), ("masked", masked))
        for user, items in lists.items()
    ]
    file = folder / "shop" / "runs" / run / f"seed-{seed}" / "lists.parquet"
    file.parent.mkdir(parents=True)
    write_table(file, pl.DataFrame(rows, schema=LISTS, orient="row"))
    return file


def world(folder: Path) -> dict[str, Any]:
    shop = folder / "shop"
    (shop / "features").mkdir(parents=True)
    write_vocab(shop / "vocab.parquet", ITEMS)
    DATA.write(shop / "sequences.parquet")
    x = np.eye(12, dtype=np.float32)
    FeatureFile(x[::-1].copy(), np.ones(12, bool), ITEMS[::-1]).write(shop / "features" / "text.safetensors")
    return {
        "lists": [write_lists(folder, "decorec", 0, KEPT, MASKED), write_lists(folder, "decorec", 1, OTHER, MASKED)],
        "vocabs": [shop / "vocab.parquet"],
        "sequences": [shop / "sequences.parquet"],
        "features": [shop / "features" / "text.safetensors"],
        "runs": ["decorec"],
        "evaluate": EVALUATE,
    }


def test_means_over_users_and_seeds_by_hand(tmp_path: Path) -> None:
    outputs = outputs_of(tmp_path, "beyond")
    beyond_table(**world(tmp_path), **outputs)
    rows = {(row["history"], row["metric"]): row for row in records(outputs["csv"])}
    kept = {metric: row for (history, metric), row in rows.items() if history == "kept"}
    assert list(kept) == [
        f"{name}@10"
        for name in ("Coverage", "Gini", "Popularity", "PopularityShare", "Novelty", "TailShare", "ILD-text", "Repeats")
    ]
    assert kept["Coverage@10"]["mean"] == f"{10 / 12:.6f}", "user b's first ten hold those of user a"
    assert (kept["Coverage@10"]["std"], kept["Coverage@10"]["ci_low"]) == ("0.000000", "")
    # User a: items 5, 0, 6 had 0, 2, 0 interactions; with the second seed items 5, 4, 0 had 0, 1, 2. User b: 4 of ten.
    popularity = [(2 / 3 + 0.4) / 2, (1 + 0.4) / 2]
    row = kept["Popularity@10"]
    assert (row["mean"], row["seeds"]) == (f"{np.mean(popularity):.6f}", "2")
    assert row["std"] == f"{np.std(popularity, ddof=1):.6f}"
    assert (row["ci_low"], row["ci_high"]) == ("0.400000", f"{(2 / 3 + 1) / 2:.6f}"), "user b alone, user a alone"
    assert float(kept["PopularityShare@10"]["mean"]) == pytest.approx(np.mean(popularity) / 4, abs=1e-6)
    # The most popular fifth, three of twelve: 0, 1, 4. The tail: user a 2 of 3 and 1 of 3, user b 7 of 10.
    assert float(kept["TailShare@10"]["mean"]) == pytest.approx((0.5 + 0.7) / 2, abs=1e-6)
    # Repeats: user a 2 of 3 and 3 of 3, user b 3 of 10.
    assert float(kept["Repeats@10"]["mean"]) == pytest.approx((5 / 6 + 0.3) / 2, abs=1e-6)
    assert kept["ILD-text@10"]["mean"] == "1.000000"
    masked = {metric: row["mean"] for (history, metric), row in rows.items() if history == "masked"}
    assert "Repeats@10" not in masked
    assert (masked["TailShare@10"], masked["Novelty@10"]) == ("1.000000", "1.000000"), "user b has no list"
    assert masked["Coverage@10"] == f"{2 / 12:.6f}"
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=2)
    assert "shop, 2 users, 9 of 12 items in the tail, history kept" in outputs["md"].read_text()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"a": [0]}, r"seed-2/lists.parquet: expected a list of each of 2 users \(history kept\), found 1 lists"),
        ({"a": [0], "c": [1]}, r"seed-2/lists.parquet: expected a list of each of 2 users .*found 2 lists, or other"),
        ({"a": [0], "b": [12]}, r"seed-2/lists.parquet: expected items from 0 to 11, found -1 to 12 \(history kept\)"),
    ],
)
def test_lists_of_other_users_or_items_are_refused(kept: dict[str, list[int]], message: str, tmp_path: Path) -> None:
    given = world(tmp_path)
    given["lists"].append(write_lists(tmp_path, "decorec", 2, kept, MASKED))
    with pytest.raises(DecorecError, match=message):
        beyond_table(**given, **outputs_of(tmp_path, "beyond"))


def test_a_data_set_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="--vocabs and --sequences: expected those of the data set shop, found none"):
        beyond_table(**(world(tmp_path) | {"vocabs": []}), **outputs_of(tmp_path, "beyond"))
