"""The last lines of a run: the main table, the verdict where there is one, what to open, and else nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from decorec.artifacts import layout
from decorec.plan.closing import BOLD, PLAIN, closing

TABLE = layout.fill(layout.TABLE, table="main")


def test_the_models_stand_in_order_with_the_best_values_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert closing([layout.fill(layout.TABLE, table="ablations")], terminal=True, level=0.95) == ""
    hit, ndcg = {"ease": 0.1, "sasrec": 0.25}, {"ease": 0.07, "sasrec": 0.0625}
    Path(TABLE).parent.mkdir(parents=True)
    with Path(TABLE).open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["dataset", "history", "metric", "model", "mean", "seeds", "ci_low", "ci_high"])
        for history, plus in (("kept", 0.0), ("masked", 0.5)):
            for metric, values in (("Hit@10", hit), ("NDCG@10", ndcg)):
                for model, value in values.items():
                    rows.writerow(["shop", history, metric, model, value + plus, 2, 0.05, 0.375])
    trained = [layout.fill(layout.MODEL, dataset="shop", run="sasrec", seed=seed, stage="fit") for seed in (0, 1)]
    earlier = ((2, "fit", 100.0), (0, "stage2", 100.0))  # with other seeds, and as another model
    for seed, stage, seconds in ((0, "fit", 4.0), (1, "fit", 8.0), *earlier):
        file = Path(layout.benchmark(f"shop/runs/sasrec/seed-{seed}/{stage}"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\tmax_rss\tcpu_time\n9\t9\t{seconds}\n")
    lines = closing(["elsewhere.csv", TABLE, *trained], terminal=False, level=0.95).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("sasrec"))
    assert lines[first].split() == [
        *("sasrec", "0.2500*", "0.0500-0.3750", "0.0625", "0.7500*", "0.5625", "2", "6", "s"),
    ]
    assert lines[first - 1].split()[:5] == ["model", "Hit@10", "95", "%", "interval"]
    assert " 97.5 % interval " in closing([TABLE], terminal=False, level=0.975)
    assert lines[first + 1].split() == ["ease", "0.1000", "0.0500-0.3750", "0.0700*", "0.6000", "0.5700*", "2"]
    assert TABLE in lines[-2] and layout.fill(layout.PAGE, page="index") in lines[-1]
    ranked = [layout.fill(layout.METRICS, dataset="shop", run="sasrec", seed=seed) for seed in range(4)]
    for file, value in zip(ranked, (0.06, 0.02, 0.05, 0.01), strict=True):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps({"valid": {"kept": {"NDCG@10": value}}}))
    look = [line for line in closing([TABLE, *ranked[:3]], False, 0.95).splitlines() if line.startswith("Look at ")]
    assert len(look) == 1 and "sasrec, seed 1: on validation its NDCG@10 is 0.0200" in look[0] and "0.0500" in look[0]
    assert "Look at" not in closing([TABLE, *ranked[:2]], False, 0.95), "two seeds do not say which one is usual"
    verdict = Path(layout.fill(layout.VERDICT_VALUES, dataset="shop"))
    verdict.parent.mkdir(parents=True, exist_ok=True)
    verdict.write_text(json.dumps({"sentence": "Pictures help."}))
    shown = closing([TABLE], terminal=True, level=0.95)
    assert "Pictures help." in shown.splitlines()
    assert shown.count(BOLD) == 4 and f"{BOLD}0.2500{PLAIN}" in shown
    page = layout.fill(layout.PAGE, page="index")
    with_page = closing([TABLE, page], terminal=False, level=0.95)
    assert with_page.endswith(f"\nOpen {page} in a browser") and "snakemake" not in with_page
    file = layout.fill(layout.VERDICT, dataset="shop")
    assert closing([file], terminal=False, level=0.95).splitlines() == [
        "",
        "Pictures help.",
        f"Which model to take, and what this hides: {file}",
    ]
    assert closing([file, TABLE], terminal=False, level=0.95).count("Pictures help.") == 1
    lists = layout.fill(layout.RECOMMENDATIONS, dataset="shop", ending="csv")
    assert closing([lists], terminal=False, level=0.95) == f"\nA list for every customer: {lists}"
