"""Claims: verdicts are computed, corrected by Holm, and honest about what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import write_table
from decorec.artifacts.schemas.gradients import GRADIENTS
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
FUSION = ["sasrec", "no-collaborative", "naive-fusion", "decorec"]
OFFSETS = {"decorec": 0, "sasrec": 60, "popularity": 200, "no-cluster": 0}


def write_history(shop: Path, run: str, seed: int, stage: str, best: int) -> Path:
    """A training of 30 epochs whose best, from 1, is ``best``."""
    file = shop / "runs" / run / f"seed-{seed}" / stage / "history.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, pl.DataFrame({"epoch": range(30)}).with_columns(best=pl.col("epoch") == best - 1))
    return file


def write_gradients(shop: Path, seed: int, first: float, last: float) -> Path:
    """Cosines of ``first`` in the first ten of 50 steps, ``last`` in the last ten and after these; one is missing."""
    steps = [*range(50), 60]
    cosine = [first if step < 10 else last if step >= 40 else 0.5 for step in steps]
    columns = {"epoch": 0, "step": steps, "cosine": cosine, "cosine_apart": 0.25, "id_norm": 1.0, "modal_norm": 1.0}
    frame = pl.DataFrame(columns).with_columns(cosine=pl.when(pl.col("step") != 3).then("cosine"))
    file = shop / "runs" / "naive-fusion" / f"seed-{seed}" / "gradients.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, frame.select(pl.col(name).cast(kind) for name, kind in GRADIENTS.items()))
    return file


def make(
    folder: Path,
    modes: bool = True,
    recalls: bool | list[Path] = True,
    offsets: dict[str, int] = OFFSETS,  # of the places of a run's targets, where they are not random
    **changes: object,
) -> list[dict[str, str]]:
    random = np.random.default_rng(0)
    ranks = []
    shop = folder / "results" / "shop"
    for run, offset in offsets.items():
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
        "recalls": [shop / "recall.parquet"] if recalls is True else recalls or [],
        "histories": [],
        "gradients": [],
        "fusion": [],
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
    shown = ("NDCG@10", "hits per user", "best epoch", "-cosine", "cosine")
    rows = {(row["history"], row["claim"]): row for row in make(tmp_path) if row["metric"] in shown}
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
        ends = [f"{float(row[key]):+.4f}" for key in ("paper", "paper_high") if row[key]]
        assert paper == " to ".join(ends)
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


def test_the_paper_has_no_difference_of_runs_that_are_read_against_one_of_its_rows(tmp_path: Path) -> None:
    rows = make(
        tmp_path,
        offsets=OFFSETS | {"decorec-plus": 0},
        main=["decorec", "decorec-plus", "sasrec", "popularity"],
        paper=PaperNames({"shop": "Scientific"}),
    )
    printed = {row["claim"]: row["paper"] for row in rows if (row["metric"], row["history"]) == ("NDCG@10", "kept")}
    assert printed["DeCoRec beats DeCoRec-plus"] == "" and float(printed["DeCoRec beats SASRec"]) > 0


def test_a_recall_without_predictions_tests_nothing(tmp_path: Path) -> None:
    file = tmp_path / "other" / "shop" / "recall.parquet"
    file.parent.mkdir(parents=True)
    frames = [
        pl.DataFrame({"view": view, "user": ["u", "v"], "hits": [0.0] * 2, "predictions": [0.0] * 2}) for view in VIEWS
    ]
    write_table(file, pl.concat(frames))
    rows = make(tmp_path, recalls=[file])
    assert set(verdicts(rows, "recall", "hits per user").values()) == {"not testable here"}


@pytest.mark.parametrize(
    ("low", "high", "significant", "paper", "verdict"),
    [
        (0.01, 0.03, True, (0.02, 0.02), "reproduced"),
        (0.01, 0.03, True, (0.09, 0.09), "reproduced"),
        (0.01, 0.03, False, (0.02, 0.02), "undecided"),
        (-0.01, 0.03, False, (0.02, 0.02), "undecided"),
        (-0.01, 0.01, False, (0.02, 0.02), "contradicted"),
        (-0.03, -0.01, True, (0.02, 0.02), "contradicted"),
        (0.01, 0.03, False, (0.02, 0.09), "undecided"),
        (0.04, 0.05, False, (0.02, 0.09), "undecided"),
        (-0.01, 0.01, False, (0.02, 0.09), "contradicted"),
        (0.10, 0.11, False, (0.02, 0.09), "contradicted"),
        (-0.01, 0.03, False, None, "undecided"),
        (-0.03, -0.01, True, None, "contradicted"),
    ],
)
def test_verdict(low: float, high: float, significant: bool, paper: tuple[float, float] | None, verdict: str) -> None:
    assert claims._verdict(Effect((low + high) / 2, low, high, 0.5), significant, paper) == verdict


def test_naive_fusion_loses_what_the_paper_says_or_not(tmp_path: Path) -> None:
    """The paper gives 3 to 10 % of the figure of ids or of modalities alone, in the three metrics of its figure 4."""
    offsets = OFFSETS | {"no-collaborative": 0, "naive-fusion": 60}
    every = make(tmp_path, offsets=offsets, fusion=FUSION, paper=PaperNames({"shop": "Scientific"}))
    rows = [row for row in every if (row["kind"], row["history"]) == ("fusion", "kept")]
    texts = (
        "By modalities alone, no-collaborative beats naive-fusion",
        "By ids alone, SASRec beats naive-fusion",
        "no-collaborative beats linear-adapter-no-collaborative",
    )
    assert tuple(dict.fromkeys(row["claim"] for row in rows)) == texts
    modal, ids, linear = ([row for row in rows if row["claim"] == text] for text in texts)
    assert {row["verdict"] for row in modal} == {"reproduced"}
    assert {row["verdict"] for row in linear} == {"not testable here"}, "that run is missing"
    assert {row["verdict"] for row in ids} <= {"contradicted", "undecided"}, "both are equally bad"
    for row in [*modal, *ids]:
        if row["metric"] not in ("Hit@10", "NDCG@10", "MRR@10"):
            assert (row["paper"], row["paper_high"]) == ("", "")
            continue
        low, high = float(row["paper"]), float(row["paper_high"])
        assert high / low == pytest.approx(10 / 3, rel=1e-3)
        if row["verdict"] != "reproduced":
            outside = float(row["ci_high"]) < low or high < float(row["ci_low"])
            assert row["verdict"] == ("contradicted" if outside else "undecided")
    hits = next(row for row in modal if row["metric"] == "Hit@10")
    assert float(hits["paper"]) == pytest.approx(0.03, abs=1e-6), "no-collaborative hits every target"
    printed = next(row for row in linear if row["metric"] == "NDCG@10")["paper"]
    assert float(printed) == pytest.approx(0.0859 - 0.0817, abs=1e-6), "of its table 4"


def test_models_with_modalities_against_models_of_ids(tmp_path: Path) -> None:
    offsets = OFFSETS | {"unisrec": 0}
    rows = make(tmp_path, offsets=offsets, main=[*MAIN, "unisrec"], paper=PaperNames({"shop": "Scientific"}))
    assert verdicts(rows, "modal") == {
        "UniSRec beats SASRec": "reproduced",
        "UniSRec beats BERT4Rec": "not testable here",
        "MISSRec beats SASRec": "not testable here",
        "MISSRec beats BERT4Rec": "not testable here",
    }
    chosen = [row for row in rows if (row["kind"], row["metric"], row["history"]) == ("modal", "Hit@10", "kept")]
    assert float(chosen[0]["paper"]) == pytest.approx(0.1615 - 0.1523, abs=1e-6)


@dataclass(frozen=True)
class Trained:
    """Values of each seed, and the verdicts that follow."""

    ids: list[int]
    modalities: list[int]
    around: str
    before: str
    first: list[float]
    last: list[float]
    opposed: str
    agree: str


TRAINED = {
    "as the paper says": Trained(
        *([5, 5, 5, 5, 6], [20, 25, 22, 24, 21], "reproduced", "reproduced"),
        *([-0.5, -0.4, -0.6], [0.2, 0.3, 0.2], "reproduced", "reproduced"),
    ),
    "otherwise": Trained(
        *([20, 21, 22], [5, 6, 5], "contradicted", "contradicted"),
        *([0.5, 0.4, 0.6], [0.2, 0.1, 0.2], "contradicted", "contradicted"),
    ),
    "scattered": Trained(
        *([5, 3, 8], [20, 25, 22], "undecided", "reproduced"),
        *([-0.5, 0.5, 0.1], [0.2, -0.3, 0.2], "undecided", "undecided"),
    ),
    "no spread to tell a difference from": Trained(
        *([5, 5, 5], [9, 9, 9], "undecided", "undecided"),
        *([-0.5, -0.5], [0.25, 0.25], "undecided", "undecided"),
    ),
    "one seed": Trained(
        *([5], [9], "not testable here", "not testable here"),
        *([-0.5], [0.2], "not testable here", "not testable here"),
    ),
}


@pytest.mark.parametrize("case", TRAINED)
def test_claims_about_trainings_are_tested_over_seeds(case: str, tmp_path: Path) -> None:
    shop, found = tmp_path / "results" / "shop", TRAINED[case]
    histories = [write_history(shop, "sasrec", seed, "fit", best) for seed, best in enumerate(found.ids)]
    histories += [write_history(shop, "other", seed, "stage1", best) for seed, best in enumerate(found.modalities)]
    gradients = [write_gradients(shop, *values) for values in zip(range(9), found.first, found.last, strict=False)]
    every = make(tmp_path, histories=histories, gradients=gradients, paper=PaperNames({"shop": "Scientific"}))
    rows = [row for row in every if row["kind"] in ("convergence", "gradients")]
    assert {row["history"] for row in rows} == {"kept"}
    around, before, opposed, apart, agree, steady = rows
    assert [(row["claim"], row["metric"], row["verdict"]) for row in (around, before, opposed, agree)] == [
        ("SASRec (ids alone) is best around epoch 5", "best epoch", found.around),
        ("SASRec is best before stage 1 of DeCoRec (modalities alone)", "best epoch", found.before),
        ("At first the gradients of ids and modalities oppose each other", "-cosine", found.opposed),
        ("The gradients of ids and modalities agree more by step 50", "cosine", found.agree),
    ]
    assert [(row["paper"], row["paper_high"]) for row in (around, before)] == [("4.000000", "6.000000"), ("", "")]
    if len(found.ids) > 1:
        values = [np.mean(found.ids), np.mean(found.modalities) - np.mean(found.ids)]
        values += [-np.mean(found.first), -0.25, np.mean(found.last) - np.mean(found.first), 0]
        assert [float(row["difference"]) for row in rows] == pytest.approx(values, abs=1e-6)
        assert (apart["metric"], steady["metric"]) == ("-cosine_apart", "cosine_apart")


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
    for kind in ("modes", "single", "recall", "cold", "modal", "convergence", "gradients", "fusion"):
        chosen = [row for row in rows if row["kind"] == kind]
        assert chosen
        assert {row["verdict"] for row in chosen} == {"not testable here"}
        assert {row["p_holm"] for row in chosen} == {""}
