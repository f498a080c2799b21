"""The table of cold items: every figure from made-up ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_table, write_table
from decorec.errors import DecorecError
from decorec.tables.colditems import colditems_table
from tests.support.fabricated_ranks import (
    COLD,
    COLD_ITEMS,
    EVALUATE,
    RUNS,
    among_cold,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    outputs_of,
    records,
    statistics_file,
    under,
    user_means,
)
from tests.support.printed import strangers


def table(folder: Path, files: list[Path]) -> tuple[list[dict[str, str]], str]:
    """Rows of the csv file, and the md file."""
    names = sorted({file.parents[3].name for file in files})
    statistics = [statistics_file(folder / "results" / name, 30, 100, 900) for name in names]
    outputs = outputs_of(folder, "colditems")
    colditems_table(ranks=files, statistics=statistics, runs=RUNS, evaluate=EVALUATE, **outputs)
    return records(outputs["csv"]), outputs["md"].read_text()


def test_cold_targets_among_all_items_and_among_cold_ones_and_the_other_targets(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    rows, text = table(tmp_path, files)
    outputs = outputs_of(tmp_path, "colditems")
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=4)
    kinds = [("kept", "cold", "all"), ("kept", "cold", "cold"), ("kept", "other", "all")]
    kinds += [("masked", "cold", "all"), ("masked", "other", "all")]
    assert list(dict.fromkeys((row["history"], row["targets"], row["candidates"]) for row in rows)) == kinds
    assert len(rows) == 2 * 5 * 6 * 3
    for row in rows:
        seeds = ranks[row["dataset"]][row["model"]]
        only = {seed: among_cold(places) for seed, places in seeds.items()}
        found = np.array(
            user_means(row["metric"], only if row["candidates"] == "cold" else under(row["history"], seeds))
        )
        chosen = found[COLD if row["targets"] == "cold" else ~COLD]
        assert (int(row["users"]), int(row["cold_items"])) == (len(chosen), COLD_ITEMS)
        assert float(row["mean"]) == pytest.approx(chosen.mean(), abs=1e-6)
        assert float(row["ci_low"]) <= float(row["mean"]) <= float(row["ci_high"])
    assert "## shop, 6 of 30 targets, cold, among the 60 cold items alone, history kept\n" in text


def test_without_cold_targets_the_table_says_so(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    for file in files:
        if "shop" in file.parts:
            none = pl.lit(None, dtype=pl.Int32)
            frame = pl.read_parquet(file).with_columns(
                target_count=pl.lit(5, dtype=pl.Int32), higher_cold=none, equal_cold=none
            )
            write_table(file, frame)
    rows, text = table(tmp_path, files)
    assert {row["dataset"] for row in rows} == {"scientific"}
    assert "- shop: each of the 30 test targets has a training interaction, so there is nothing to compare.\n" in text
    alone = [file for file in files if "shop" in file.parts]
    rows, text = table(tmp_path, alone)
    assert strangers(tmp_path / "colditems.csv") == []
    assert rows == [] and "nothing to compare" in text and "NaN" not in text and "None" not in text


def test_a_cold_target_that_was_not_ranked_among_cold_items_is_refused(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    frame = read_table(files[1], {}).with_columns(equal_cold=pl.lit(None, dtype=pl.Int32))
    write_table(files[1], frame)
    with pytest.raises(DecorecError, match="expected numbers of at least 0 in column 'equal_cold', found others"):
        table(tmp_path, files)
