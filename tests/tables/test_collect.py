"""Tables refuse input that does not fit together, each time with one message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.artifacts.files import write_table
from decorec.cli import main
from decorec.errors import DecorecError
from tests.support.fabricated_ranks import KINDS, USERS, fabricate, main_table, make, make_statistics, write_ranks


def spoil(file: Path, **columns: Any) -> None:
    write_table(file, pl.read_parquet(file).sort("user").with_columns(**columns))


def test_other_users_are_refused(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    users = [f"user {number:02}" for number in range(1, USERS + 1)]
    write_ranks(files[4], ranks["scientific"]["sasrec"][1], users)
    with pytest.raises(DecorecError, match="same users") as failure:
        make(main_table, files, tmp_path / "out")
    assert str(files[0]) in str(failure.value)
    assert str(files[4]) in str(failure.value)
    assert not (tmp_path / "out").exists(), "no half-written output"


def test_other_targets_are_refused(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    write_ranks(files[1], ranks["scientific"]["decorec"][1], target=1)
    with pytest.raises(DecorecError, match="same targets"):
        make(main_table, files, tmp_path)


def test_fewer_users_are_refused(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    write_table(files[2], pl.read_parquet(files[2]).sort("user").head(20))
    with pytest.raises(DecorecError, match="30 and 20 users, and user 'user 20' with target 20"):
        make(main_table, files, tmp_path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"higher": pl.lit(-1, dtype=pl.Int32)}, "expected numbers of at least 0 in column 'higher'"),
        ({"equal": pl.lit(-1, dtype=pl.Int32)}, "expected numbers of at least 0 in column 'equal'"),
        ({"equal": pl.lit(None, dtype=pl.Int32)}, "expected numbers of at least 0 in column 'equal'"),
        ({"higher": pl.lit(1.5)}, "column 'higher' of type Int32"),
        ({"user": pl.lit("same")}, "several of 'same'"),
    ],
)
def test_bad_ranks_are_refused(tmp_path: Path, column: dict[str, Any], message: str) -> None:
    files, _ = fabricate(tmp_path)
    spoil(files[1], **column)
    with pytest.raises(DecorecError, match=message) as failure:
        make(main_table, files, tmp_path)
    assert str(files[1]) in str(failure.value)


def test_missing_empty_and_stray_files(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    with pytest.raises(DecorecError, match="run 'sasrec' of data set 'shop': expected at least one"):
        make(main_table, [file for file in files if "shop/runs/sasrec" not in file.as_posix()], tmp_path)
    with pytest.raises(DecorecError, match="expected one of the runs decorec, found 'sasrec'"):
        make(main_table, files, tmp_path, runs=["decorec"])
    with pytest.raises(DecorecError, match="reference 'other': expected one of the runs"):
        make(main_table, files, tmp_path, reference="other")
    with pytest.raises(DecorecError, match="one file per data set, run and seed"):
        make(main_table, [*files, files[0]], tmp_path)
    with pytest.raises(DecorecError, match=r"ends in DATASET/runs/RUN/seed-N/ranks\.parquet"):
        make(main_table, [*files, tmp_path / "ranks.parquet"], tmp_path)
    with pytest.raises(DecorecError, match=r"expected at least one ranks\.parquet, found none"):
        make(main_table, [], tmp_path)
    files[3].unlink()
    with pytest.raises(DecorecError, match=re.escape(f"{files[3]}: expected a parquet table, found no such file")):
        make(main_table, files, tmp_path)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    with pytest.raises(DecorecError, match="main, ablations, fusion, readings, found 'other'"):
        make(main_table, files, tmp_path, kind="other")


@pytest.mark.parametrize("text", ["[]", "{}", '{"paper": {}}', '{"users": 3, "items": null, "paper": {}}'])
def test_bad_statistics_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "shop" / "statistics.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(DecorecError, match=re.escape(str(file))):
        make_statistics([file], tmp_path)


def test_command_line_explains_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shop" / "runs" / "decorec" / "seed-0" / "ranks.parquet"
    outputs = [flag for kind in KINDS for flag in (f"--{kind}", str(tmp_path / f"cli.{kind}"))]
    common = [
        "comparison-table",
        "--kind",
        "main",
        "--ranks",
        str(file),
        "--runs",
        "decorec",
        "--reference",
        "decorec",
        "--evaluate",
        "{}",
    ]
    with pytest.raises(SystemExit) as exit_status:
        main([*common, "--paper", '{"shop": null}', *outputs])
    assert exit_status.value.code == 1
    assert f"decorec comparison-table: {file}: expected a parquet table, found no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*common, "--paper", '{"shop": "Toys"}', *outputs])
    assert "--paper" in capsys.readouterr().err
    assert not list(tmp_path.glob("cli.*"))
