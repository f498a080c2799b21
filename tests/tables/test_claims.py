"""Claims: verdicts are computed, corrected by Holm, and honest about what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import write_table
from decorec.evaluation.neighbour_recall import VIEWS
from decorec.evaluation.significance import holm
from decorec.tables import claims
from decorec.tables.claims import claims_table
from decorec.tables.labels import PaperNames
from decorec.tables.paper import paper_figure
from decorec.tables.summary import Effect
from tests.evaluation.test_modality_modes import MODES, write_modes
from tests.support.fabricated_ranks import (
    EVALUATE,
    HISTORIES,
    LENGTHS,
    USERS,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    html_root,
    outputs_of,
    records,
    write_ranks,
)

MAIN = ["decorec", "sasrec", "popularity"]


def make(folder: Path, modes: bool = True, recalls: bool = True, **changes: object) -> list[dict[str, str]]:
    random = np.random.default_rng(0)
    ranks = []
    shop = folder / "results" / "shop"
    for run, offset in {"decorec": 0, "sasrec": 60, "popularity": 200, "no-cluster": 0}.items():
        higher = random.integers(0, 4, USERS) + offset * (LENGTHS <= 4) + (offset > 0)
        if run == "no-cluster":
            higher = random.integers(0, 4, USERS)
        places = np.stack([higher, np.zeros(USERS, np.int64)], 1)
        ranks.append(write_ranks(shop / "runs" / run / "seed-0" / "ranks.parquet", places))
    users = [f"user {number:02}" for number in range(USERS)]
    found = pl.concat(
        pl.DataFrame({"view": view, "user": users, "hits": [int(view == VIEWS[2])] * USERS, "predictions": 10})
        for view in VIEWS
    )
    write_table(shop / "recall.parquet", found.cast({"hits": pl.Float64, "predictions": pl.Float64}))
    files = [write_modes(shop / "runs" / "decorec" / "seed-0" / "modes.parquet", MODES, 1)] if modes else []
    outputs = outputs_of(folder, "claims")
    arguments: dict[str, object] = {
        "ranks": ranks,
        "modes": files,
        "recalls": [shop / "recall.parquet"] if recalls else [],
        "main": MAIN,
        "ablations": ["no-cluster", "decorec"],
        "retrieval": ["decorec"],
        "reference": "decorec",
        "baseline": "sasrec",
        "cold": 0.4,
        "evaluate": EVALUATE,
        "paper": PaperNames({}),
    }
    claims_table(**(arguments | changes), **outputs)  # type: ignore[arg-type]
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=8)
    assert html_root(outputs["html"]).find(".//table") is not None
    return records(outputs["csv"])


def test_the_page_of_documentation_says_what_the_table_says(tmp_path: Path) -> None:
    rows = {
        (row["history"], row["claim"]): row for row in make(tmp_path) if row["metric"] in ("NDCG@10", "hits per user")
    }
    assert {history for history, claim in rows if "finds more" in claim} == {"masked"}, "it predicts no item again"
    lines = (tmp_path / "claims.md").read_text().splitlines()
    assert lines[0] == "# The paper's claims and the measurements"
    assert "- Seeds per run: 1." in lines
    found = {}
    history = ""
    for line in lines:
        if line.startswith("## "):
            history = line.split("history ")[1].split(":")[0]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] not in ("Claim", "---"):
            found[history, cells[0]] = cells[1:7]
    assert set(found) == set(rows)
    for claim, (difference, interval, paper, p, holm_p, verdict) in found.items():
        row = rows[claim]
        assert paper == (f"{float(row['paper']):+.4f}" if row["paper"] else "")
        assert verdict == (row["verdict"] or "not in the paper")
        if row["p_value"]:
            assert difference == f"{float(row['difference']):+.4f}"
            assert interval == f"[{float(row['ci_low']):+.4f}, {float(row['ci_high']):+.4f}]"
            assert [p, holm_p] == [f"{float(row[key]):.4f}" for key in ("p_value", "p_holm")]


def verdicts(rows: list[dict[str, str]], kind: str, metric: str = "NDCG@10") -> dict[str, str]:
    """Of the kept history, and of the recall, which never predicts an item of the history."""
    history = "masked" if kind == "recall" else "kept"
    chosen = [row for row in rows if (row["kind"], row["metric"], row["history"]) == (kind, metric, history)]
    return {row["claim"]: row["verdict"] for row in chosen}


def test_verdicts(tmp_path: Path) -> None:
    rows = make(tmp_path)
    main = verdicts(rows, "main")
    assert main["DeCoRec beats SASRec"] == "reproduced"
    assert main["DeCoRec beats Popularity"] == "", "better, but the paper does not say so"
    assert sum(verdict == "not testable here" for verdict in main.values()) == 5, "the paper's other competitors"
    ablations = verdicts(rows, "ablations")
    assert ablations["DeCoRec beats no-cluster"] == "undecided", "equally good"
    assert sum(verdict == "not testable here" for verdict in ablations.values()) == 5
    assert set(verdicts(rows, "recall", "hits per user").values()) == {"reproduced"}
    assert set(verdicts(rows, "single").values()) == {"not testable here"}
    cold = verdicts(rows, "cold")
    assert cold["Cold users gain more over SASRec than the others"] == "reproduced"
    assert cold["On cold users DeCoRec beats SASRec"] == "reproduced"


def test_the_effect_of_the_paper_stands_beside_ours_and_decides_with_the_interval(tmp_path: Path) -> None:
    rows = make(tmp_path, paper=PaperNames({"shop": "Scientific"}))
    printed = {metric: paper_figure("ablations", "Scientific", "decorec", metric) for metric in ("Hit@10", "NDCG@10")}
    for row in (row for row in rows if row["claim"] == "DeCoRec beats no-cluster"):
        other = paper_figure("ablations", "Scientific", "no-cluster", row["metric"])
        if row["history"] == "masked" or row["metric"] not in printed:
            assert row["paper"] == "", "the paper keeps the history, and prints two metrics of its ablations"
            continue
        effect = (printed[row["metric"]] or 0) - (other or 0)
        assert float(row["paper"]) == pytest.approx(effect, abs=1e-6)
        inside = float(row["ci_low"]) <= effect <= float(row["ci_high"])
        assert row["verdict"] == ("undecided" if inside else "contradicted")
    assert {row["paper"] for row in rows if row["kind"] in ("recall", "modes", "single", "cold")} == {""}


@pytest.mark.parametrize(
    ("low", "high", "significant", "paper", "verdict"),
    [
        (0.01, 0.03, True, 0.02, "reproduced"),
        (0.01, 0.03, True, 0.09, "reproduced"),
        (0.01, 0.03, False, 0.02, "undecided"),
        (-0.01, 0.03, False, 0.02, "undecided"),
        (-0.01, 0.01, False, 0.02, "contradicted"),
        (-0.03, -0.01, True, 0.02, "contradicted"),
        (-0.01, 0.03, False, None, "undecided"),
        (-0.03, -0.01, True, None, "contradicted"),
    ],
)
def test_verdict(low: float, high: float, significant: bool, paper: float | None, verdict: str) -> None:
    assert claims._verdict(Effect((low + high) / 2, low, high, 0.5), significant, paper) == verdict


def test_p_is_corrected_over_the_rows_of_a_kind(tmp_path: Path) -> None:
    every = [row for row in make(tmp_path) if row["kind"] == "main" and row["p_value"]]
    for history in HISTORIES:
        rows = [row for row in every if row["history"] == history]
        assert len(rows) == 2 * 6
        expected = holm([float(row["p_value"]) for row in rows])
        assert [float(row["p_holm"]) for row in rows] == pytest.approx(expected.tolist(), abs=2e-5)
        assert any(row["p_holm"] != row["p_value"] for row in rows)


def test_a_positive_difference_alone_reproduces_nothing(tmp_path: Path) -> None:
    strict = EVALUATE.model_copy(update={"level": 0.99999})
    found = verdicts(make(tmp_path, evaluate=strict), "main")
    assert found["DeCoRec beats SASRec"] == "undecided", "the interval is not below 0"


def test_what_is_missing_is_not_testable(tmp_path: Path) -> None:
    rows = make(
        tmp_path, modes=False, recalls=False, baseline="unisrec", main=MAIN, ablations=["no-cluster", "decorec"]
    )
    for kind in ("modes", "single", "recall", "cold"):
        chosen = [row for row in rows if row["kind"] == kind]
        assert chosen
        assert {row["verdict"] for row in chosen} == {"not testable here"}
        assert {row["p_holm"] for row in chosen} == {""}
