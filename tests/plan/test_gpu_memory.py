"""What jobs ask for of a GPU's memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import Wildcards

from decorec.artifacts.files import write_json
from decorec.config import Run, load
from decorec.config.experts import ExpertsConfig
from decorec.gpus import Card
from decorec.models.registry import MODELS
from decorec.plan.gpu_memory import ENCODERS, LEAST, asked, needed
from decorec.plan.plan import Plan

OFFICE = 16_628
"""Items."""


def run_of(model: str, **train: Any) -> Run:
    return Run.model_validate({"model": {"name": model}, "train": train})


@pytest.mark.parametrize("model", MODELS)
def test_a_model_takes_more_with_more_items_and_little_on_data_of_the_papers_size(model: str) -> None:
    run = run_of(model)
    stage = run.stages[-1]
    few, many, more = (needed(run, stage, items, 100) for items in (1_000, OFFICE, 10 * OFFICE))
    assert LEAST < few <= many <= more and few < 8_000 and many < 12_000, (few, many, more)
    assert needed(run, stage, OFFICE, 1_100) == many + 2_000, "input files, twice"


def test_what_grows_is_what_a_step_holds() -> None:
    """Beyond data and weights, docs/performance/training.md has 682 MB of stage 1 and 224 of SASRec at that size."""
    for model, stage, measured in (("decorec", "stage1", 682), ("sasrec", "fit", 224)):
        run = run_of(model)
        assert (
            measured < needed(run, stage, OFFICE, 0) - needed(run, stage, 0, 0) + 4 * 2**26 / 1e6 < 2 * measured + 268
        )
    prefixes = needed(run_of("sasrec", samples="prefixes"), "fit", OFFICE, 0)
    assert prefixes > needed(run_of("sasrec", batch_size=1024), "fit", OFFICE, 0) > needed(run, "fit", OFFICE, 0)
    million, sampled = run_of("decorec"), run_of("decorec", negatives=8192)
    assert needed(million, "stage1", 10**6, 8_000) > 2 * needed(sampled, "stage1", 10**6, 8_000)


def test_an_expert_takes_what_it_would_alone_in_the_stage_that_has_it() -> None:
    floor = {"name": "content-ease"}
    run, alone = run_of("decorec"), run_of("content-ease")
    with_expert = run.model_copy(update={"experts": ExpertsConfig.model_validate({"floor": floor})})
    more = {stage: needed(with_expert, stage, OFFICE, 0) - needed(run, stage, OFFICE, 0) for stage in run.stages}
    assert more == {"stage1": 0, "stage2": pytest.approx(needed(alone, "fit", OFFICE, 0) - LEAST)}
    assert more["stage2"] > 4 * OFFICE**2 / 1e6, "a coefficient for each pair of items"


def test_a_job_asks_for_all_of_its_processes_and_for_no_more_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = {"decorec": {}, "two": {"train": {"devices": 2}}}
    plan = Plan(load({"datasets": {"shop": {"source": "sample"}}, "runs": runs, "tables": {"main": ["decorec"]}}))
    told: list[str] = []
    cards: list[Card] = []
    training = asked(
        lambda: cards,
        told.append,
        lambda job: plan.trainings(job.dataset, job.run, job.stage),
        lambda job: plan.devices(job.dataset, job.run),
    )
    files = SimpleNamespace(size=1e8)
    one, two = (Wildcards(fromdict={"dataset": "shop", "run": run, "stage": "stage2"}) for run in runs)
    encoding = asked(lambda: cards, told.append)
    assert training(one, files, 1, "train") == encoding(one, files, 1, "features") == 0, "no GPU"
    cards.append(Card("a", 80_000))
    assert training(one, files, 1, "train") == 80_000, "of unknown size: a whole card"
    place = tmp_path / "results/shop"
    place.mkdir(parents=True)
    write_json(place / "statistics.json", {"users": 40_000, "items": OFFICE, "interactions": 300_000})
    need = round(needed(plan.on("shop", "decorec"), "stage2", OFFICE, 100))
    assert [training(one, files, attempt, "train") for attempt in (1, 2)] == [need, pytest.approx(2 * need, abs=1)]
    assert encoding(one, files, 1, "features") == ENCODERS
    whole = [stage for _, stage in plan.trainings("shop")]
    assert whole == ["stage1", "stage2"] and plan.trainings("shop", "decorec", "stage1")[0][1] == "stage1"
    cards.append(Card("b", 2_000))
    assert training(two, files, 1, "train") == 2 * 2_000, "each has a card, and the second largest is small"
    cards[:] = [Card("a", 3_000)]
    assert [training(one, files, attempt, "train") for attempt in (1, 2, 1)] == [3_000] * 3
    assert [text.partition(" GB on a GPU")[0].partition(":")[0] for text in told] == [
        "train shop two stage2",
        "train shop decorec stage2",
    ], "said once"
    cards.append(Card("c"))
    assert training(one, files, 1, "train") == 0, "of unknown memory"
