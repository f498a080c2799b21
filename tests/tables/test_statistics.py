"""The table of statistics, and the figures of the paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from decorec.tables.paper import paper, paper_figure, paper_statistics, released_figures
from tests.support.fabricated_ranks import (
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    html_root,
    make_statistics,
    records,
    statistics_file,
)


def test_statistics_count_three_ways(tmp_path: Path) -> None:
    """The Scientific set: our counts, the same in the paper's way, the paper's table 1; the latter two agree."""
    files = [
        statistics_file(tmp_path / "scientific", 2_928, 1_585, 19_712),
        statistics_file(tmp_path / "shop", 10, 7, 55),
    ]
    output = make_statistics(files, tmp_path)
    assert_md_says_what_html_says(output[3], output[2])
    first, second = records(output[0])
    assert first == {
        "dataset": "scientific",
        "users": "2928",
        "items": "1585",
        "interactions": "19712",
        "mean_length": "6.732240",
        "sparsity_percent": "99.575253",
        "as_paper_users": "2929",
        "as_paper_items": "1586",
        "as_paper_interactions": "16784",
        "as_paper_sparsity_percent": "99.638696",
        "paper_items": "1586",
        "paper_interactions": "16784",
        "paper_sparsity_percent": "99.639000",
        "protocol": "leave-one-out",
        "training": "13856",
        "cold_items": "60",
        "validation_targets": "2928",
        "test_targets": "2928",
        "cold_percent": "20.000000",
        "early_percent": "46.500000",
        "same_day_percent": "50.000000",
    }
    assert second["early_percent"] == second["same_day_percent"] == "", "times are unknown"
    notes = output[3].read_text()
    assert (
        "scientific, leave-one-out: 13,856 interactions to train on, 2,928 validation and 2,928 test targets" in notes
    )
    assert "46.5% lie before the time that 90% of all interactions do not exceed, 50.0% on the day of" in notes
    assert [second[key] for key in first if key.startswith("paper_")] == ["", "", ""]
    assert_tex_is_well_formed(output[1].read_text(), columns=6)
    rows = [["".join(cell.itertext()) for cell in row] for row in html_root(output[2]).findall(".//tbody/tr")]
    assert rows == [
        ["scientific"],
        ["counted here", "2,928", "1,585", "19,712", "6.73", "99.575"],
        ["counted as in the paper", "2,929", "1,586", "16,784", "", "99.639"],
        ["printed in the paper", "", "1,586", "16,784", "", "99.639"],
        ["shop"],
        ["counted here", "10", "7", "55", "5.50", "21.429"],
        ["counted as in the paper", "11", "8", "45", "", "48.864"],
    ]


def test_figures_of_the_paper_are_complete() -> None:
    source = paper()
    assert [source.statistics.table, source.main.table, source.retrieval.table, source.ablations.table] == [1, 2, 3, 4]
    cells = [figure for rows in source.main.rows.values() for row in rows.values() for figure in row]
    assert len(source.main.rows) == 7
    assert len(cells) == 7 * 5 * 4
    assert sum(cells) == pytest.approx(18.2533), "guards against a slip of the keyboard"
    for rows in source.main.rows.values():
        for hit10, hit50, ndcg10, ndcg50 in rows.values():
            assert 0 < ndcg10 < hit10 < hit50 < 1
            assert ndcg10 < ndcg50 < hit50
    for hits, predictions, precision in (row for rows in source.retrieval.rows.values() for row in rows.values()):
        # As printed: interest on Pantry reads 0.00446, where its own counts give 0.00445.
        assert hits / predictions == pytest.approx(precision, abs=1.5e-5)
    for dataset, row in source.ablations.rows["decorec"].items():
        main_row = source.main.rows["decorec"][dataset]
        assert row == [main_row[0], main_row[2]], "the full model stands in both tables"
    assert paper_statistics("Office") == {"items": 16629, "interactions": 400208, "sparsity_percent": 99.96}
    assert paper_statistics(None) == {}


def test_figures_that_are_not_there() -> None:
    assert paper_figure("main", "Scientific", "decorec", "NDCG@10") == 0.0897
    assert paper_figure("main", None, "decorec", "NDCG@10") is None
    assert paper_figure("main", "Scientific", "decorec", "MRR@10") is None
    assert paper_figure("ablations", "Office", "decorec", "NDCG@10") is None
    assert released_figures("Office") is None
    released = released_figures("Scientific")
    assert released is not None
    assert set(released.mean) == {f"{name}@{k}" for name in ("Hit", "NDCG", "MRR") for k in (10, 11, 50, 51)}
