"""Tuning: a fixed number of trials on validation, kept across kills, and the overlay of the best values."""

from __future__ import annotations

import json
import re
import signal
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from decorec.artifacts import resume, step_log
from decorec.artifacts.schemas.trials import TRIALS
from decorec.config import load
from decorec.config.base import merge
from decorec.config.runs import Overlaid, Run, with_values
from decorec.config.training import SearchSpace, TuningConfig
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError, UnfitValuesError
from decorec.plan.plan import Plan
from decorec.tables.trials import tuned, tuning_table
from decorec.training import tuning
from decorec.training.steps import train
from decorec.training.tuning import tune
from tests.support import small
from tests.support.stopped import Stopped, when_logged

RUN = small.run(name="sasrec", dim=8)
ONCE = RUN.model_copy(update={"train": RUN.train.model_copy(update={"epochs": 1})})


def files(folder: Path, data: Sequences, run: Run = RUN) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return {**small.files(folder, data, run), "code": "tested", "cache": folder / "cache", "trials": folder / "trials"}


def test_trials_are_kept_each_combination_comes_once_and_the_own_values_first(tmp_path: Path) -> None:
    given = files(tmp_path, small.sequences())
    tune(run=RUN, settings=TuningConfig(trials=2), **given)
    first = pl.read_parquet(given["trials"])
    assert len(first) == 2
    tune(run=RUN, settings=TuningConfig(trials=5), **given)
    table = pl.read_parquet(given["trials"])
    assert len(table) == 5
    assert table.head(2).equals(first)
    assert table["values"].n_unique() == 5
    assert json.loads(table["values"][0])["train.learning_rate"] == RUN.train.learning_rate
    assert set(table["state"]) <= {"COMPLETE", "PRUNED"}
    assert table["NDCG@10"].is_between(0, 1).all()
    tune(run=RUN, settings=TuningConfig(trials=5), **given)
    assert pl.read_parquet(given["trials"]).equals(table)


STAGES = small.run(name="decorec", dim=8)
LEFT_OFF = "continues in epoch"


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        (RUN, ["trial 0, fit: epoch 0"]),
        (RUN, ["trial 1, fit: epoch 1"] * 2 + ["trial 1, fit: best"]),
        (STAGES, ["trial 0, stage1: epoch 1", "trial 1, stage2: epoch 1"]),
    ],
)
def test_a_killed_trial_is_continued_and_the_table_is_that_of_no_kill(
    run: Run, lines: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, undisturbed = TuningConfig(trials=3), files(tmp_path / "undisturbed", small.sequences(), run)
    tune(run=run, settings=settings, **undisturbed)
    monkeypatch.setattr(resume, "SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE", float("inf"))
    given = files(tmp_path / "killed", small.sequences(), run)
    for line in lines:
        with when_logged(line), pytest.raises(Stopped):
            tune(run=run, settings=settings, **given)
    signalled = partial(signal.raise_signal, signal.SIGTERM)
    with when_logged(f"trial 2, {run.stages[-1]}: epoch 0", signalled), pytest.raises(SystemExit) as end:
        tune(run=run, settings=settings, **given)
    assert end.value.code == 128 + signal.SIGTERM
    assert LEFT_OFF in caplog.text
    last = step_log.begun("tune")
    tune(run=run, settings=settings, **given)
    assert last.earlier.processor_seconds > 0, "of the starts before"
    assert given["trials"].read_bytes() == undisturbed["trials"].read_bytes()
    assert [path.suffix for path in given["cache"].iterdir()] == [".db"], "no state is left"


@pytest.mark.parametrize("run", [RUN, small.run({"neighbourhood": 1.0}, dim=8)])
def test_a_trial_trains_what_the_step_train_does(run: Run, tmp_path: Path) -> None:
    given = files(tmp_path, small.sequences(), run)
    tune(run=run, settings=TuningConfig(trials=1), **given)
    common = {key: value for key, value in given.items() if key not in ("cache", "trials")}
    places: dict[str, Path] = {}
    for stage in run.stages:
        start = {"start": places["model"], "start_config": places["config"]} if places else {}
        folder = tmp_path / stage
        places = {"state": folder / "state", "model": folder / "m.safetensors", "config": folder / "c.json"}
        places["history"] = folder / "h.parquet"
        train(run=run.for_stage(stage), stage=stage, seed=0, **common, **places, **start)
    best = pl.read_parquet(places["history"]).filter("best")["NDCG@10"].to_list()
    assert pl.read_parquet(given["trials"])["NDCG@10"].to_list() == best


def test_the_trials_end_where_every_combination_was_tried(tmp_path: Path) -> None:
    given = files(tmp_path, small.sequences())
    tune(run=ONCE, settings=TuningConfig(trials=50), **given)
    table = pl.read_parquet(given["trials"])
    assert (
        len(table)
        == table["values"].n_unique()
        == prod(map(len, tuning.choices(RUN, small.sequences(), RUN.model.space).values()))
    )


def test_trials_follow_what_was_good_before(tmp_path: Path) -> None:
    """Of 400 combinations the estimator proposes more that share the best value than chance would (a twentieth)."""
    space = {"a": list(range(20)), "b": list(range(20))}
    ended: list[Any] = []
    for _ in range(40):
        values = tuning._proposed(space, 0, ended)
        assert values not in [trial.params for trial in ended]
        distributions = {key: CategoricalDistribution(found) for key, found in space.items()}
        value = float(values["a"] == 7) + (20 - abs(values["a"] - 7)) / 100
        ended.append(create_trial(params=values, distributions=distributions, value=value))
    assert ended[0].params == {"a": 0, "b": 0}, "the own values"
    assert tuning._proposed(space, 0, ended) == tuning._proposed(space, 0, ended)
    chosen = [trial.params["a"] for trial in ended[tuning.RANDOM :]]
    assert sum(abs(a - 7) <= 2 for a in chosen) > len(chosen) / 2


@pytest.mark.parametrize("name", ["item-knn", "content-ease"])
def test_a_floor_is_tuned_without_epochs_and_a_trial_is_what_the_step_train_validates(
    name: str, tmp_path: Path
) -> None:
    run = small.run(name=name)
    given = files(tmp_path, small.sequences(), run)
    tune(run=run, settings=TuningConfig(), **given)
    trials = pl.read_parquet(given["trials"])
    assert len(trials) == TuningConfig().trials and set(trials["state"]) == {"COMPLETE"}
    assert trials["values"].n_unique() == len(trials) and trials["NDCG@10"].n_unique() > 1
    common = {key: value for key, value in given.items() if key not in ("cache", "trials")}
    written = {name: tmp_path / f"trained/{name}" for name in ("state", "model", "history", "config")}
    best = trials.sort("NDCG@10")[-1]
    chosen = with_values(run, json.loads(best["values"][0]))
    train(run=chosen, stage="fit", seed=0, **common, **written)
    assert pl.read_parquet(written["history"])["NDCG@10"].to_list() == best["NDCG@10"].to_list()


TOO_LARGE = 1e30
"""A learning rate with which the loss of the first epoch is no number."""


def test_a_trial_that_diverges_has_failed_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TuningConfig(trials=5)
    space = SearchSpace.model_validate({"train.learning_rate": [TOO_LARGE, 0.01], "train.batch_size": [64, 32]})
    given = files(tmp_path / "undisturbed", small.sequences(), ONCE)
    tune(run=ONCE, settings=settings, space=space, **given)
    table = pl.read_parquet(given["trials"])
    rates = [json.loads(values)["train.learning_rate"] for values in table["values"]]
    failed = [rate == TOO_LARGE for rate in rates]
    assert len(table) == 5 and any(failed) and not failed[-1], "a trial follows one that failed"
    assert (table["state"] == "FAIL").to_list() == failed
    assert table["NDCG@10"].is_null().to_list() == failed
    reason = "fit, epoch 0: expected a finite loss, found nan; training diverged, lower train.learning_rate"
    assert table["reason"].to_list() == [f"trial {n}, {reason}" if bad else None for n, bad in enumerate(failed)]
    for number, values in table.filter(pl.col("state") == "FAIL")["trial", "values"].iter_rows():
        assert f"trial {number} failed with {values}: trial {number}, {reason}" in caplog.text
    tuning_table(trials=[given["trials"]], earlier=Overlaid({}), csv=tmp_path / "shop.csv")
    best = pl.read_csv(tmp_path / "shop.csv").filter("best")
    assert best["NDCG@10"].to_list() == [table["NDCG@10"].max()] and best["reason"].to_list() == [None]
    killed = files(tmp_path / "killed", small.sequences(), ONCE)
    for line in (f"trial {failed.index(True)} failed", "trial 4, fit: epoch 0"):
        with when_logged(line), pytest.raises(Stopped):
            tune(run=ONCE, settings=settings, space=space, **killed)
    tune(run=ONCE, settings=settings, space=space, **killed)
    assert killed["trials"].read_bytes() == given["trials"].read_bytes()


def test_where_all_trials_fail_one_sentence_says_so_and_they_are_not_tried_again(tmp_path: Path) -> None:
    given = files(tmp_path, small.sequences())
    run = with_values(ONCE, {"train.learning_rate": TOO_LARGE})
    space = SearchSpace.model_validate({"train.learning_rate": [2 * TOO_LARGE]})
    message = (
        r"expected values with which sasrec .* all 2 trials failed, the first one with .*1e\+30.*diverged.* correct"
    )
    for _ in range(2):
        with pytest.raises(DecorecError, match=message):
            tune(run=run, settings=TuningConfig(trials=5), space=space, **given)
    assert not given["trials"].exists()
    with when_logged("trial 0"), pytest.raises(DecorecError, match=message):  # it trains nothing
        tune(run=run, settings=TuningConfig(trials=5), space=space, **given)


@pytest.mark.parametrize(
    ("failure", "counts"),
    [
        (UnfitValuesError("ridge: too small"), "ridge: too small"),
        (torch.OutOfMemoryError("CUDA out of memory"), "expected values for which the memory of the GPU suffices.*"),
        (DecorecError("the disk is full"), ""),
        (RuntimeError("a defect"), ""),
    ],
)
def test_only_a_failure_by_its_values_counts_as_a_trial(
    failure: Exception, counts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, calls = files(tmp_path, small.sequences()), iter([failure, 0.3, 0.2])

    def trained(*_: Any) -> float:
        end = next(calls)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(tuning, "_train", trained)
    if not counts:
        with pytest.raises(type(failure), match=str(failure)):
            tune(run=RUN, settings=TuningConfig(trials=2), **given)
    tune(run=RUN, settings=TuningConfig(trials=2), **given)
    table = pl.read_parquet(given["trials"])
    assert table["NDCG@10"].to_list() == ([None, 0.3] if counts else [0.3, 0.2])
    assert json.loads(table["values"][0])["train.learning_rate"] == RUN.train.learning_rate, "the own values first"
    assert (re.fullmatch(counts, table["reason"][0] or "") is not None) and table["reason"][1] is None


def test_a_run_that_starts_from_an_earlier_model_has_no_trials(tmp_path: Path) -> None:
    run = with_values(RUN, {"train.start": "results/shop/runs/sasrec/seed-0"})
    with pytest.raises(DecorecError, match=r"found train\.start: results/shop/runs/sasrec/seed-0; .* remove"):
        tune(run=run, settings=TuningConfig(trials=1), **files(tmp_path, small.sequences()))


def test_trials_of_other_inputs_or_code_are_not_used(tmp_path: Path) -> None:
    given, settings = files(tmp_path, small.sequences()), TuningConfig(trials=1)
    tune(run=RUN, settings=settings, **given)
    first = pl.read_parquet(given["trials"])
    small.sequences(seed=1).write(given["sequences"])
    tune(run=RUN, settings=settings, **given)
    assert pl.read_parquet(given["trials"])["NDCG@10"][0] != first["NDCG@10"][0]
    with when_logged("trial 0, fit: epoch 0"), pytest.raises(Stopped):  # it trains again
        tune(run=RUN, settings=settings, **given | {"code": "edited"})
    for database in given["cache"].iterdir():
        database.write_bytes(database.read_bytes()[:-4096])
    with when_logged("trial 0, fit: epoch 0"), pytest.raises(Stopped):
        tune(run=RUN, settings=settings, **given)
    assert len(list(given["cache"].glob("*.damaged"))) == 1


def test_tuning_looks_at_no_test_item(tmp_path: Path) -> None:
    data = small.sequences()
    other = data.items.copy()
    last = data.offsets[1:] - 1
    other[last] = (other[last] + 11) % 40
    tables = []
    for name, items in (("one", data.items), ("two", other)):
        given = files(tmp_path / name, Sequences(data.users, data.offsets, items))
        tune(run=RUN, settings=TuningConfig(trials=2), **given)
        tables.append(pl.read_parquet(given["trials"]))
    assert tables[0].equals(tables[1])


def test_the_overlay_holds_the_best_values_of_every_run(tmp_path: Path) -> None:
    files_of = []
    for run, figures in {"sasrec": [0.1, 0.3, 0.9, 0.3], "dimo": [0.4, 0.2, 0.1]}.items():
        rows = [
            (
                n,
                "PRUNED" if figure == 0.9 else "COMPLETE",
                figure,
                json.dumps({"train.learning_rate": 0.001 * (n + 1)}),
                None,
            )
            for n, figure in enumerate(figures)
        ]
        frame = pl.DataFrame(rows, schema=TRIALS, orient="row")
        frame.write_parquet(tmp_path / f"{run}.parquet")
        files_of.append(tmp_path / f"{run}.parquet")
    tuning_table(trials=files_of, earlier=Overlaid({}), csv=tmp_path / "shop.csv")
    tuned(csv=tmp_path / "shop.csv", output=tmp_path / "tuned.yaml")
    overlay = yaml.safe_load((tmp_path / "tuned.yaml").read_text())
    values = {"sasrec": {"train": {"learning_rate": 0.002}}, "dimo": {"train": {"learning_rate": 0.001}}}
    assert overlay == {"tuned": {"shop": values}}
    runs = {name: {"model": {"name": name}} for name in ("decorec", *values)}
    config = load(
        {"datasets": {"shop": {"source": "sample"}}, "runs": runs, "tables": {"main": ["decorec"]}, **overlay}
    )
    assert config.run("sasrec", "shop").train.learning_rate == 0.002
    assert config.run("sasrec", "other") == config.run("sasrec")


def test_a_trial_is_compared_with_the_same_epoch_of_the_same_stage_alone() -> None:
    """Stage 1 ended after 20 epochs, or after 40; its values say nothing of those of stage 2."""
    first, second = 0, tuning.STAGE

    def trial(epochs: int, value: float, last: float) -> dict[int, float]:
        return {first + epoch: value for epoch in range(epochs)} | {second + epoch: last for epoch in range(30)}

    others = [trial(20, 0.1, 0.3), trial(40, 0.2, 0.5), trial(40, 0.6, 0.4)]
    until = tuning.WARMUP
    own = {first + epoch: 0.15 for epoch in range(until)}
    assert not tuning._is_behind(own, others), "a stage is slow at first"
    assert tuning._is_behind(own | {first + until: 0.15}, others), "below 0.2, the median of 0.1, 0.2 and 0.6"
    assert not tuning._is_behind(own | {first + until: 0.2}, others), "the best until then counts"
    assert not tuning._is_behind(own | {first + until: 0.15}, others[:2]), "too few have ended"
    assert tuning._is_behind(own | {first + 30: 0.3}, others), "below 0.4, the median of the two that came so far"
    own = {first: 0.9} | {second + epoch: 0.35 for epoch in range(until)}
    assert not tuning._is_behind(own, others), "so is the next stage"
    own[second + until] = 0.35
    assert tuning._is_behind(own, others), "below 0.4; the 0.9 is of stage 1"
    assert not tuning._is_behind(own | {second + until: 0.45}, others)
    assert not tuning._is_behind(own | {second + 30: 0.1}, others), "nobody came so far"
    assert tuning._value(create_trial(state=TrialState.PRUNED, intermediate_values=own)) == 0.35


def test_a_trial_that_is_behind_in_its_second_stage_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_is_behind", lambda own, others: bool(others) and max(own) > tuning.STAGE)
    given = files(tmp_path, small.sequences(), STAGES)
    tune(run=STAGES, settings=TuningConfig(trials=2), **given)
    assert pl.read_parquet(given["trials"])["state"].to_list() == ["COMPLETE", "PRUNED"]


def test_of_trials_with_the_best_value_the_log_and_the_table_name_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, values = files(tmp_path, small.sequences()), iter([0.1, 0.3, 0.3, 0.2])
    monkeypatch.setattr(tuning, "_train", lambda *_: next(values))
    caplog.set_level("INFO", "decorec")
    tune(run=RUN, settings=TuningConfig(trials=4), **given)
    tuning_table(trials=[given["trials"]], earlier=Overlaid({}), csv=tmp_path / "shop.csv")
    table = pl.read_csv(tmp_path / "shop.csv")
    assert table["best"].to_list() == [False, True, False, False]
    assert f"best 0.3000 with {table['values'][1]}" in caplog.text


def test_an_overlay_over_values_that_were_chosen_before_trains_what_its_trial_trained(tmp_path: Path) -> None:
    """Files are laid over each other key by key: keys of the earlier values that were not tried are named as well."""
    before = {"model": {"dim": 64, "encoder": {"layers": 1}}, "train": {"stage1": {"epochs": 5}, "fit": {"epochs": 7}}}
    sections = {"datasets": {"shop": {"source": "sample"}}, "tables": {"main": ["decorec", "sasrec", "dimo"]}}
    runs = {"decorec": {}, "sasrec": {"model": {"name": "sasrec"}}, "dimo": {"model": {"name": "dimo"}}}
    given = {**sections, "runs": runs, "tuned": {"shop": {"decorec": before, "sasrec": before}}}
    values = {
        "decorec": {"model.encoder.dropout": 0.2, "train.epochs": 40},
        "sasrec": {"model.dim": 32, "train.learning_rate": 0.01},
        "dimo": {"train.learning_rate": 0.01},
    }
    files_of = [tmp_path / f"{name}.parquet" for name in runs]
    for name, file in zip(runs, files_of, strict=True):
        rows = [(0, "COMPLETE", 0.1, json.dumps(values[name]), None)]
        pl.DataFrame(rows, schema=TRIALS, orient="row").write_parquet(file)
    plan = Plan(load(given))
    csv, output = tmp_path / "shop.csv", tmp_path / "tuned.yaml"
    tuning_table(trials=files_of, earlier=Overlaid.model_validate_json(plan.chosen_before("shop")), csv=csv)
    tuned(csv=csv, output=output)
    overlaid = load(merge(given, yaml.safe_load(output.read_text())))
    for name in runs:
        tried = with_values(Run.model_validate_json(plan.whole_run(name)), values[name])
        there = overlaid.run(name, "shop")
        assert there.model == tried.model
        assert all(there.train.stage(stage) == tried.train.stage(stage) for stage in tried.stages), name
    assert json.loads(pl.read_csv(csv)["values"][2]) == values["dimo"], "nothing was chosen for it before"
