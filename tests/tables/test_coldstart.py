"""The table of cold users: who is cold, and every figure from made-up ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import write_table
from decorec.errors import DecorecError
from decorec.tables.coldstart import coldstart_table, groups_of_users
from decorec.tables.collect import RunRanks
from tests.support.fabricated_ranks import (
    EVALUATE,
    LENGTHS,
    RUNS,
    Ranks,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    html_root,
    outputs_of,
    records,
    under,
)
from tests.support.fabricated_ranks import user_means as values_of


def make(folder: Path, baseline: str = "sasrec") -> tuple[list[dict[str, str]], Ranks]:
    files, ranks = fabricate(folder)
    return table(folder, files, baseline), ranks


def table(folder: Path, files: list[Path], baseline: str = "sasrec") -> list[dict[str, str]]:
    outputs = outputs_of(folder, "cold")
    coldstart_table(ranks=files, runs=RUNS, baseline=baseline, cold=0.4, evaluate=EVALUATE, **outputs)
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=4)
    assert len(html_root(outputs["html"]).findall(".//tbody")) == 8
    return records(outputs["csv"])


def of_lengths(lengths: np.ndarray) -> RunRanks:
    return RunRanks((0,), np.ones((1, len(lengths))), lengths)


def test_users_of_equal_length_stay_together() -> None:
    cold, other = groups_of_users(of_lengths(LENGTHS), 0.4)
    assert (cold.name, int(cold.chosen.sum()), cold.least, cold.most) == ("cold", 15, 3, 4)
    assert (other.name, int(other.chosen.sum()), other.least, other.most) == ("other", 15, 9, 9)
    (only,) = groups_of_users(of_lengths(np.array([3, 3, 3])), 0.4)
    assert only.name == "cold"


def test_figures_of_both_groups(tmp_path: Path) -> None:
    rows, ranks = make(tmp_path)
    assert len(rows) == 2 * 2 * 2 * 6 * 3
    for row in rows:
        chosen = (LENGTHS <= 4) == (row["group"] == "cold")
        found = {run: under(row["history"], seeds) for run, seeds in ranks[row["dataset"]].items()}
        ours = np.array(values_of(row["metric"], found[row["model"]]))[chosen]
        base = np.array(values_of(row["metric"], found["sasrec"]))[chosen]
        assert row["users"] == "15"
        assert float(row["mean"]) == pytest.approx(ours.mean(), abs=1e-6)
        if row["model"] == "sasrec":
            assert row["improvement_percent"] == row["difference"] == row["p_value"] == ""
            continue
        assert float(row["difference"]) == pytest.approx((ours - base).mean(), abs=1e-6)
        assert float(row["improvement_percent"]) == pytest.approx(100 * (ours.mean() / base.mean() - 1), abs=1e-4)
        assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])


def test_without_the_baseline_there_are_no_gains(tmp_path: Path) -> None:
    rows, _ = make(tmp_path, baseline="absent")
    assert {row["improvement_percent"] for row in rows} == {""}
    assert {row["mean"] for row in rows} != {""}


def test_other_histories_are_refused(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    frame = pl.read_parquet(files[1])
    write_table(files[1], frame.with_columns(pl.col("history_length") + (pl.col("user") == "user 07")))
    with pytest.raises(DecorecError, match="'user 07' with target 7 after 5 items in one only"):
        table(tmp_path, files)
