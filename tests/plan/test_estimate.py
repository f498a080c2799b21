"""What a call of Snakemake would cost: which jobs, where their costs come from, and what is not known yet."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.artifacts import layout
from decorec.config import load
from decorec.config.runs import Run
from decorec.errors import DecorecError
from decorec.features.at_once import MOST_PAIRS
from decorec.plan import costs, estimate
from decorec.plan.estimate import forecast
from decorec.plan.jobs import Job, planned
from decorec.plan.sharing import as_json
from tests.support import small
from tests.support.workplace import INDEX, PAGE, REPOSITORY, Workplace

FLOORS = ("content-ease", "ease", "hybrid-knn", "vstan", "item-knn", "content-knn", "popularity")


def training(run: Run, stage: str, seed: int = 0, **files: Any) -> Job:
    """The job of the rule train for a run that has the name of its model."""
    words = ["python", "-m", "decorec", "train", "--stage", stage, "--run", json.dumps(run.dump())]
    for flag, value in files.items():
        words += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return Job.of(f"{shlex.join(words)} --threads 1 2> logs/shop/runs/{run.model.name}/seed-{seed}/{stage}.log")


def statistics(**facts: Any) -> None:
    path = Path(layout.fill(layout.STATISTICS, dataset="shop"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"users": 100, "items": 50, "interactions": 1000, **facts}))


def finished(run: str, stage: str, seed: int, best: int, length: int, seconds: float) -> None:
    """A training as an earlier call has left it: its history, and its measurement."""
    place = {"dataset": "shop", "run": run, "seed": seed, "stage": stage}
    history = Path(layout.fill(layout.HISTORY, **place))
    history.parent.mkdir(parents=True)
    pl.DataFrame({"best": [epoch == best for epoch in range(length)]}).write_parquet(history)
    measured = Path(layout.benchmark(layout.fill(layout.training_job(), **place)))
    measured.parent.mkdir(parents=True)
    measured.write_text(f"s\tmax_rss\tcpu_time\n{9 * seconds}\t800\t{seconds}\n")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of a project with a data set of its own in shop.yaml."""
    workplace = Workplace(tmp_path / "work", {})
    shutil.copy(REPOSITORY / "config.yaml", workplace.folder)
    shutil.copytree(REPOSITORY / "config", workplace.folder / "config")
    (workplace.folder / "shop.yaml").write_text("datasets: {first: {source: sample}}\nseeds: [0, 1, 2, 3, 4]\n")
    monkeypatch.chdir(workplace.folder)


def test_a_slow_crawl_is_waited_for_and_an_encoder_is_fitted_on_no_more_pairs_than_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load({"datasets": {"shop": {"source": "sample"}}, "crawl": {"rate": 4.0}, "features": {"encoder": "fit"}})
    crawl, fit = (
        Job.of(f"python -m decorec {step} --settings {shlex.quote(as_json(section))} 2> logs/shop/{step}.log")
        for step, section in (("crawl", config.crawl), ("features", config.features))
    )

    def of(job: Job, items: int) -> costs.Cost:
        found = costs.Costs({"shop": costs.Size(1e5, items, 1e6, "counted")}).of(job)
        assert found is not None
        return found

    assert of(crawl, 50_000).clock == 50_000 / 4
    more, most = (of(fit, items + 10_000).processor - of(fit, items).processor for items in (1_000, MOST_PAIRS))
    assert more > 2 * most > 0, "of more items, each is encoded alone"
    several = json.loads(fit.value("settings")) | {"ensemble": 5}
    five = Job.of(f"python -m decorec features --settings {shlex.quote(json.dumps(several))} 2> logs/shop/features.log")
    first, second = (of(job, 21_000).processor - of(job, 1_000).processor for job in (fit, five))
    assert second == pytest.approx(5 * first)


@pytest.mark.usefixtures("shop")
def test_floors_alone_are_fitted_once_for_table_page_and_lists() -> None:
    targets = ["results/tables/main.csv", INDEX, "results/first/recommendations.parquet"]
    jobs = planned(targets, [Path("shop.yaml"), Path("config/floors.yaml")])
    trained = [(job.run, job.value("stage"), job.seed) for job in jobs if costs.stages_of(job)]
    assert sorted(trained) == sorted((run, "fit", "0") for run in FLOORS)


@pytest.mark.usefixtures("shop")
def test_a_first_look_trains_only_what_it_names() -> None:
    jobs = planned([PAGE, "results/results.md"], [Path("shop.yaml"), Path("config/quick.yaml")])
    trained = [(job.run, job.value("stage"), job.seed) for job in jobs if costs.stages_of(job)]
    phased = ("decorec", "decorec-plus", "text-only", "image-only")
    stages = [(run, stage, "0") for run in phased for stage in ("stage1", "stage2")]
    assert sorted(trained) == sorted([*stages, *((run, "fit", "0") for run in ("sasrec", "no-modalities", *FLOORS))])
    assert sum(job.step == "evaluate" for job in jobs) == 13, "a floor is ranked once as well"
    said = forecast(jobs, cores=2)
    assert said.startswith(f"{len(jobs)} jobs: 17 train, ") and "first: 338 users" in said
    assert "(expected of the sample shop)" in said and "with 2 cores" in said and "values per unit of size" in said
    with pytest.raises(DecorecError, match="what Snakemake refuses"):
        planned([], [Path("nowhere.yaml")])


def test_a_cost_comes_from_the_best_source_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, floor = small.run(name="sasrec"), small.run(name="popularity")
    run = run.model_copy(update={"train": run.train.model_copy(update={"epochs": 300, "patience": 10})})
    jobs = [training(run, "fit", 0), training(run, "fit", 1), training(floor, "fit")]

    unknown = forecast(jobs, cores=2)
    assert unknown.startswith("3 jobs: 3 train\nshop: size not known yet, ")
    assert "3 jobs (3 of them trainings)" in unknown and "Make results/shop/statistics.json first" in unknown
    other = replace(jobs[0], name=jobs[0].name.replace("shop/", "annex/"))
    both = forecast([*jobs, other], cores=2).splitlines()
    assert len(both) == 2 and both[1].startswith("annex, shop: size not known yet, so that the time of 4 jobs (4 of ")
    assert "Make results/annex/statistics.json results/shop/statistics.json first" in both[1]
    statistics(split={"training": 800})
    size = costs.size_of("shop", jobs)
    assert size == costs.Size(100, 50, 800, "counted")
    rate = costs.RATES["sasrec fit"]
    cost = costs.Costs({"shop": size}).of(jobs[0])
    assert cost is not None and (cost.source, cost.epochs) == (costs.TABLE, rate.useful + 10)
    whole = 0.8 * (rate.tokens + rate.items * 0.05)
    assert cost.epoch == pytest.approx(whole * (0.25 + 0.75 * 16 / 300)), "a narrow layer takes less"
    hasty = run.model_copy(update={"train": run.train.model_copy(update={"learning_rate": 4e-3})})
    cost = costs.Costs({"shop": size}).of(training(hasty, "fit"))
    assert cost is not None and cost.epochs == round(rate.useful / 4) + 10, "a large learning rate needs fewer epochs"
    one = costs.Costs({"shop": size}).of(jobs[2])
    assert one is not None and one.epochs == 1, "a floor has no epochs"

    costs.keep_epochs("shop", size, {("shop", costs.values_of(run, "fit")): costs.Epoch(1.0, 2.0, 700.0)})
    kept = costs.kept_epochs("shop", size)
    cost = costs.Costs({"shop": size}, kept).of(jobs[0])
    assert cost is not None and (cost.source, cost.epoch, cost.memory) == (costs.MEASURED, 2.0, 700.0)
    assert cost.processor == costs.START + 1 + 2 * cost.epochs
    longer = run.model_copy(update={"train": run.train.model_copy(update={"epochs": 7})})
    cost = costs.Costs({"shop": size}, kept).of(training(longer, "fit"))
    assert cost is not None and (cost.source, cost.epochs) == (costs.MEASURED, 7), "of so many epochs at most"
    patient = run.model_copy(update={"train": run.train.model_copy(update={"least_epochs": 60})})
    cost = costs.Costs({"shop": size}, kept).of(training(patient, "fit"))
    assert cost is not None and (cost.source, cost.epochs) == (costs.MEASURED, 60), "patience ends none before"
    statistics(split={"training": 900})
    changed = costs.size_of("shop", jobs)
    assert changed is not None and costs.kept_epochs("shop", changed) == {}, "of other data"

    finished("sasrec", "fit", seed=4, best=19, length=30, seconds=costs.START + 90)
    cost = costs.Costs({"shop": size}, kept).of(jobs[0])
    assert cost is not None and (cost.source, cost.epochs) == (costs.EARLIER, 30)
    assert (cost.epoch, cost.processor, cost.memory) == (3.0, costs.START + 90, 800)
    twin = layout.fill(layout.HISTORY, dataset="shop", run="sasrec", seed=4, stage="fit")
    production = costs.Costs({"shop": size}, kept).of(training(run, "fit", **{"epochs-of": twin}))
    assert production is not None and production.epochs == 20, "up to the best one, without patience"
    production = costs.Costs({"shop": size}, kept).of(training(patient, "fit", **{"epochs-of": twin}))
    assert production is not None and production.epochs == 20, "as many as its twin, whatever is the least"
    said = forecast(jobs, cores=2, detailed=True)
    assert "  shop sasrec fit: 2 x 30 epochs of 3.00 s, 0.8 GB (earlier jobs here)" in said
    assert "In all: 3 min of processor time, about 2 min by the clock with 2 cores, up to 1.6 GB of memory" in said
    assert forecast([], cores=2) == "Nothing to do: everything is there."


def test_epochs_are_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="decorec")
    run = small.run()
    files = small.files(tmp_path / "results" / "shop", small.sequences(), run)
    jobs = [training(run, "stage2", seed, **files) for seed in (0, 1)]
    statistics()
    sizes = {"shop": costs.size_of("shop", jobs)}
    estimate._measure(jobs, sizes)
    assert "shop: measuring an epoch of 1 trainings" in caplog.text
    size = sizes["shop"]
    assert size is not None
    ((key, epoch),) = costs.kept_epochs("shop", size).items()
    assert key == ("shop", costs.values_of(run, "stage2"))
    assert epoch.seconds > 0 and epoch.start >= 0 and epoch.memory > 100
    caplog.clear()
    estimate._measure(jobs, sizes)
    assert "measuring" not in caplog.text
    assert "epochs measured on the data set" in forecast(jobs, cores=1)
