"""The table of cold users: who is cold, and every figure from made-up ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated_ranks import EVALUATE, RUNS, USERS, Ranks, assert_tex_is_well_formed, fabricate, html_root, records
from fabricated_ranks import user_means as values_of

from decorec.errors import DecorecError
from decorec.sequences import Sequences
from decorec.tables.coldstart import coldstart_table, groups_of_users

LENGTHS = np.array([3] * 10 + [4] * 5 + [9] * 15)
"""Training interactions: 10 of 30 users have 3, a third; the first 40 % reach into those with 4."""


def sequences(folder: Path) -> list[Path]:
    files = []
    for dataset in ("scientific", "shop"):
        lengths = LENGTHS + 2
        users = [f"user {number:02}" for number in range(USERS)]
        items = np.zeros(lengths.sum(), dtype=np.int32)
        file = folder / "results" / dataset / "sequences.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        Sequences(users, np.concatenate([[0], np.cumsum(lengths)]), items).write(file)
        files.append(file)
    return files


def make(folder: Path, baseline: str = "sasrec") -> tuple[list[dict[str, str]], Ranks]:
    files, ranks = fabricate(folder)
    outputs = {kind: folder / f"cold.{kind}" for kind in ("csv", "tex", "html")}
    coldstart_table(
        ranks=files,
        sequences=sequences(folder),
        runs=RUNS,
        baseline=baseline,
        cold=0.4,
        evaluate=EVALUATE,
        **outputs,
    )
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=4)
    assert len(html_root(outputs["html"]).findall(".//tbody")) == 4
    return records(outputs["csv"]), ranks


def test_users_of_equal_length_stay_together() -> None:
    cold, other = groups_of_users(LENGTHS, 0.4)
    assert (cold.name, int(cold.chosen.sum()), cold.least, cold.most) == ("cold", 15, 3, 4)
    assert (other.name, int(other.chosen.sum()), other.least, other.most) == ("other", 15, 9, 9)
    (only,) = groups_of_users(np.array([3, 3, 3]), 0.4)
    assert only.name == "cold"


def test_figures_of_both_groups(tmp_path: Path) -> None:
    rows, ranks = make(tmp_path)
    assert len(rows) == 2 * 2 * 6 * 3
    for row in rows:
        chosen = (LENGTHS <= 4) == (row["group"] == "cold")
        ours = np.array(values_of(row["metric"], ranks[row["dataset"]][row["model"]]))[chosen]
        base = np.array(values_of(row["metric"], ranks[row["dataset"]]["sasrec"]))[chosen]
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


def test_unknown_users_are_refused(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    given = sequences(tmp_path)
    Sequences(["someone"], np.array([0, 5]), np.zeros(5, dtype=np.int32)).write(given[0])
    outputs = {kind: tmp_path / f"cold.{kind}" for kind in ("csv", "tex", "html")}
    with pytest.raises(DecorecError, match="'user 00'"):
        coldstart_table(
            ranks=files, sequences=given, runs=RUNS, baseline="sasrec", cold=0.4, evaluate=EVALUATE, **outputs
        )
