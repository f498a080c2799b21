"""The verdict: its sentence and its counts of customers by hand, the simplest model, and what the data hide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decorec.artifacts.files import write_json
from decorec.config.evaluation import EvaluateConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.evaluation.significance import interval_over_seeds
from decorec.tables.cost import Stages
from decorec.tables.verdict import Twins, answer, customers_needed, verdict
from tests.support.fabricated_ranks import statistics_file, write_ranks

EVALUATE = EvaluateConfig(bootstrap=500)
USERS = 200
NAMES = [f"user {number:03}" for number in range(USERS)]


def places(hits: int, shift: int = 0) -> np.ndarray:
    """Ranks of USERS users of whom ``hits``, from the one at ``shift`` on, have their target first."""
    chosen = (np.arange(USERS) - shift) % USERS < hits
    return np.stack([np.where(chosen, 0, 99), np.zeros(USERS, dtype=int)], 1)


def measure(file: Path, seconds: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\tcpu_time\tmax_rss\n{seconds}\t{seconds}\t{100 * seconds}\n")


def judge(
    folder: Path,
    hits: dict[str, int],
    twins: dict[str, list[str]],
    validated: dict[str, int] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Make a verdict of runs with ``hits`` and two seeds; the second seed has other users.

    ``validated``: hits on validation items; by default the same.
    """
    shop = folder / "results" / "shop"
    files = {
        name: [
            write_ranks(shop / "runs" / run / f"seed-{seed}" / f"{file}.parquet", places(count, 3 * seed), NAMES)
            for run, count in counted.items()
            for seed in (0, 1)
        ]
        for name, file, counted in (("ranks", "ranks", hits), ("validation", "validation", validated or hits))
    }
    arguments: dict[str, Any] = {
        **files,
        "twins": Twins(twins),
        "reads": Twins({run: [] for run in hits if run not in twins}),
        "stages": Stages({run: dict.fromkeys(TWO if run == "decorec" else ["fit"], run) for run in hits}),
        "benchmarks": folder / "benchmarks",
        "statistics": statistics_file(folder, USERS, 50, 900),
        "features": [],
        "smallest_effect": 0.01,
        "evaluate": EVALUATE,
    }
    outputs = {"document": shop / "verdict.md", "output": shop / "verdict.json"}
    verdict(**arguments | changes, **outputs)
    found: dict[str, Any] = json.loads(outputs["output"].read_text())
    assert outputs["document"].read_text().splitlines()[0] == found["sentence"]
    return found


BOTH = {"decorec": ["text", "image"], "no-modalities": []}
TWO = ("stage1", "stage2")


def test_they_help(tmp_path: Path) -> None:
    found = judge(tmp_path, {"decorec": 120, "no-modalities": 40, "text-only": 80}, BOTH | {"text-only": ["text"]})
    values = [np.stack([places(hits, 3 * seed)[:, 0] < 10 for seed in (0, 1)])[..., None] for hits in (120, 40)]
    low, high = (
        1000 * end[0] for end in interval_over_seeds(*(value.astype(float) for value in values), resamples=500)
    )
    assert found["sentence"] == (
        "Of 1,000 customers, the next purchase is among the first ten for 600 with text and pictures and for 200 "
        f"without (difference +400.0, 95% interval {low:+.1f} to {high:+.1f}): they help."
    )
    assert found["customers"] is None and found["answer"] == "help"
    assert [(row["run"], row["reads"], row["mean"]["kept"]) for row in found["twins"]] == [
        ("decorec", "text and pictures", 0.6),
        ("no-modalities", "", 0.2),
        ("text-only", "text", 0.4),
    ]


def test_small_effects_and_wide_levels_keep_their_digits(tmp_path: Path) -> None:
    changes = {"smallest_effect": 0.4125, "evaluate": EvaluateConfig(bootstrap=100, level=0.975)}
    found = judge(tmp_path, {"decorec": 120, "no-modalities": 80}, BOTH, **changes)
    assert ", 97.5% interval " in found["sentence"]
    assert found["sentence"].endswith("they help, by less than 412.5 of 1,000.")
    assert any("it lies below 412.5 of 1,000" in text for text in found["notes"])


def test_they_do_not(tmp_path: Path) -> None:
    found = judge(tmp_path, {"decorec": 40, "no-modalities": 120}, BOTH)
    assert found["sentence"].endswith("they do not help; without them it is better.")
    same = judge(tmp_path, {"decorec": 200, "no-modalities": 200}, BOTH)
    assert same["sentence"].endswith("(difference +0.0, 95% interval +0.0 to +0.0): they do not help.")


def test_it_cannot_be_told_and_how_many_customers_would(tmp_path: Path) -> None:
    found = judge(tmp_path, {"decorec": 102, "no-modalities": 100}, {"decorec": ["image"], "no-modalities": []})
    _, low, high = found["twins"][0]["difference"]["kept"]
    needed = USERS * ((high - low) / 0.01) ** 2
    assert low < 0 < 0.01 < high and needed <= found["customers"] < 1.1 * needed
    assert found["sentence"].endswith(
        f"whether they help cannot be told from these data; about {found['customers']:,} customers would tell."
    )
    assert "with pictures and" in found["sentence"]
    text = judge(tmp_path, {"decorec": 102, "no-modalities": 100}, {"decorec": ["text"], "no-modalities": []})
    assert "whether it helps cannot be told" in text["sentence"]


def test_the_number_of_customers_by_hand() -> None:
    assert customers_needed(362, -0.02, 0.04, 0.01) == 14_000, "362 * 6 ** 2 = 13,032"
    assert customers_needed(100, -0.01, 0.01, 0.02) == 100
    assert [answer(*ends, 0.01) for ends in ((0.001, 0.002), (-0.02, 0.009), (-0.001, 0.02))] == [
        "help",
        "no help",
        "unknown",
    ]


def test_the_simplest_model_within_noise_of_the_best_is_taken_by_its_cost(tmp_path: Path) -> None:
    hits = {"decorec": 122, "no-modalities": 40, "sasrec": 121, "ease": 119, "item-knn": 120, "popularity": 20}
    seconds = {"decorec": 50.0, "sasrec": 20.0, "ease": 3.0, "item-knn": 3.2, "popularity": 1.0}
    for run, spent in seconds.items():
        for seed in (0, 1):
            job = tmp_path / "benchmarks/shop/runs" / run / f"seed-{seed}"
            measure(job / ("stage2.tsv" if run == "decorec" else "fit.tsv"), spent)
            measure(job / "evaluate.tsv", 1.0)
    measure(tmp_path / "benchmarks/shop/runs/decorec/seed-0/stage1.tsv", 30.0)
    measure(tmp_path / "benchmarks/shop/features.tsv", 200.0)
    measure(
        tmp_path / "benchmarks/shop/runs/item-knn/seed-0/stage2.tsv", 900.0
    )  # of another model of this name, before
    found = judge(tmp_path, hits, BOTH)
    cost = {row["run"]: (row["seconds"], row["memory"]) for row in found["models"]}
    assert cost["decorec"] == (50 + 30 + 1 + 200, 20_000), "the encoder is part of what a model of texts costs"
    assert cost["item-knn"] == (4.2, pytest.approx(320)) and cost["no-modalities"] == (None, None)
    assert found["chosen"] == "item-knn", "as cheap as EASE within a tenth, and better"
    assert found["choice"].startswith(
        "Take Item-kNN: 600 of 1,000, 4 processor seconds, 320 MB. On validation items it is the simplest one"
    )
    assert found["models"][0]["run"] == "decorec"
    (tmp_path / "benchmarks/shop/runs/decorec/seed-0/stage1.tsv").unlink()
    again = {row["run"]: row["seconds"] for row in judge(tmp_path, hits, BOTH)["models"]}
    assert again == {run: None if run == "decorec" else spent for run, (spent, _) in cost.items()}, "half is no cost"


def test_the_test_items_choose_nothing(tmp_path: Path) -> None:
    hits = {"decorec": 20, "no-modalities": 180, "sasrec": 150}
    found = judge(tmp_path, hits, BOTH, validated={"decorec": 180, "no-modalities": 20, "sasrec": 100})
    assert [row["run"] for row in found["models"]] == ["decorec", "sasrec", "no-modalities"]
    assert found["chosen"] == "decorec"
    assert found["choice"] == (
        "Take DeCoRec: 100 of 1,000. It is the best one on validation items, and which ones are simpler was not "
        "measured."
    )
    assert found["models"][1]["mean"]["kept"] == 0.75, "what is shown is counted on the test items"
    assert found["models"][1]["difference"]["kept"][0] == pytest.approx(-0.4)
    assert found["answer"] == "no help"


def test_what_the_data_hide(tmp_path: Path) -> None:
    counts = {
        "interactions": {"users": 1000, "items": 80},
        "filter": [
            {"step": "metadata", "users": 1000, "items": 70},
            {"step": "5-core, pass 1", "users": 300, "items": 60},
        ],
    }
    write_json(tmp_path / "ingest.json", counts)
    (tmp_path / "given").mkdir()
    statistics = statistics_file(tmp_path / "given", USERS, 50, 900)
    given = json.loads(statistics.read_text()) | {
        "filter": [
            {"step": "given", "users": 300, "items": 60},
            {"step": "items with image", "users": 300, "items": 55},
            {"step": "5-core, pass 1", "users": USERS, "items": 50},
        ]
    }
    given["split"] |= {"same_day": 0.25, "cold": 0.125}
    write_json(statistics, given)
    text = tmp_path / "text.safetensors"
    FeatureFile(np.ones((2, 3), np.float32), np.ones(2, bool), ["a", "b"], {"truncated_texts": "0.1840"}).write(text)
    hits = {"decorec": 120, "no-modalities": 40, "content-knn": 100, "popularity": 20}
    files = {"statistics": statistics, "counts": tmp_path / "ingest.json", "features": [text]}
    lost, same_day, cold, cut, encoder = judge(tmp_path, hits, BOTH, **files)["hidden"]
    assert "Counted are 200 of 1,000 (20%) customers and 50 of 80 (62%) items" in lost
    assert "the 5-core alone left out 800 customers and 15 items" in lost
    assert same_day.startswith("25% of the targets") and "12.5% of the targets" in cold
    assert cut.startswith("Of the texts 18.4% are longer")
    assert "find 500 of 1,000, popularity 100" in encoder and encoder.endswith("more than popularity.")


def test_runs_that_all_have_modalities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="expected a run with modalities and one without"):
        judge(tmp_path, {"decorec": 3, "text-only": 2}, {"decorec": ["text", "image"], "text-only": ["text"]})
