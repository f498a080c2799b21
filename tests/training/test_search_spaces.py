"""Search spaces: what is tried with a run, and what of it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.config import load
from decorec.config.runs import Run, nested, with_values
from decorec.config.training import SearchSpace, TuningConfig
from decorec.errors import DecorecError
from decorec.models.registry import MODELS
from decorec.plan.plan import Plan
from decorec.training import tuning
from decorec.training.tuning import tune
from tests.support import small
from tests.training.test_tuning import ONCE, files

TUNED = [name for name in MODELS if small.run(name=name).model.space]


def test_values_that_need_times_are_tried_where_there_are_some() -> None:
    data, run = small.sequences(), small.run(name="vstan")
    space, timeless = (tuning.choices(run, d, run.model.space) for d in (data, replace(data, timestamps=None)))
    assert space.pop("model.l2") == [None, 50, 200]
    assert timeless.pop("model.l2") == [None]
    assert space == timeless


def test_values_of_ones_own_are_tried_in_place_of_those_of_the_model(tmp_path: Path) -> None:
    given = files(tmp_path, small.sequences())
    space = SearchSpace.model_validate({"train.batch_size": [16, 32], "model.dim": [8]})
    tune(run=ONCE, settings=TuningConfig(trials=9), space=space, **given)
    found = [json.loads(values) for values in pl.read_parquet(given["trials"])["values"]]
    assert found[0] == {"train.batch_size": ONCE.train.batch_size, "model.dim": 8}, "the run's own"
    assert {values["train.batch_size"] for values in found} == {ONCE.train.batch_size, 16, 32} and len(found) == 3


def test_the_configuration_says_what_is_tried() -> None:
    runs = {"decorec": {}, "twice": {"model": {"dim": 16}}, "popularity": {"model": {"name": "popularity"}}}
    tables = {"main": ["decorec", "twice", "popularity"], "variants": ["twice"]}
    space = {"twice": {"train.learning_rate": [0.01, 0.001], "model.encoder.dropout": [0.1]}}
    values = {"datasets": {"shop": {"source": "sample"}}, "runs": runs, "tables": tables}
    plan, usual = (Plan(load(values | {"tuning": {"trials": 3, **more}})) for more in ({"space": space}, {}))
    assert (plan.tuned_runs(), usual.tuned_runs()) == (["decorec", "twice"], ["decorec"])
    assert plan.own_space("decorec") == [] and json.loads(plan.own_space("twice")[0]) == space["twice"]
    assert plan.section("tuning") == usual.section("tuning"), "the trials of decorec are as before"
    for wrong, message in (
        ({"sasrec": {"model.dim": [8]}}, r"tuning\.space names 'sasrec'; expected a run of tables\.main"),
        ({"twice": {"model.drop": [0.1]}}, r"runs\.twice, where tuning tries .*\n.*model\.decorec\.drop: unknown key"),
        ({"twice": {"model.encoder.dropout": [2]}}, r"runs\.twice, where tuning tries .*\n.*dropout"),
        ({"twice": {"model.phased": [False]}}, r"tries {'model.phased': False}: expected values that leave its stages"),
        ({"twice": {"graph.top": [5]}}, r"tuning\.space\.twice\.graph\.top"),
        ({"twice": {"model.encoder.dropout": [0.1, 0.1]}}, r"expected each entry once"),
    ):
        with pytest.raises(DecorecError, match=message):
            load(values | {"tuning": {"space": wrong}})


@pytest.mark.parametrize("name", TUNED)
def test_spaces_hold_valid_values_the_default_among_them_and_enough_for_all_trials(name: str) -> None:
    run = Run.model_validate({"model": {"name": name}})
    own = run.dump()
    assert prod(map(len, run.model.space.values())) >= TuningConfig().trials, "each combination comes once"
    for key, values in run.model.space.items():
        found = own
        for part in key.split("."):
            found = found[part]
        assert found in values, key
        for value in values:
            chosen = with_values(run, {key: value})
            assert (chosen == run) == (value == found)
            assert (chosen.graph, chosen.interests) == (run.graph, run.interests)


@pytest.mark.parametrize("name", TUNED)
def test_what_a_trial_trained_is_what_its_overlay_trains(name: str) -> None:
    sections = {"datasets": {"shop": {"source": "sample"}}, "tables": {"main": ["decorec"]}}
    runs = {"decorec": {}, name: {"model": {"name": name}}}
    own = load({**sections, "runs": runs}).run(name)
    for values in ({key: value} for key, found in own.model.space.items() for value in found):
        overlay = {"tuned": {"shop": {name: nested(values)}}}
        assert load({**sections, "runs": runs, **overlay}).run(name, "shop") == with_values(own, values), values


@pytest.mark.parametrize(
    ("key", "values", "found"),
    [
        ("train.horizon", [3], [1, 3]),
        ("train.cold_ids", ["mean", "trained"], ["trained", "mean"]),
        ("train.stage1.learning_rate", [0.01], [1e-3, 0.01]),
        ("train.stage2.learning_rate", ["1e-3", 0.001], [1e-4, 1e-3]),
        ("model.encoder.dropout", ["2e-1", 0.5], [0.5, 0.2]),
    ],
)
def test_values_are_tried_once_as_the_run_has_them(key: str, values: list[Any], found: list[Any]) -> None:
    """Also at keys that are written only where they differ from the default, and as text, as YAML reads 1e-3."""
    assert tuning.choices(Run(), small.sequences(), {key: values}) == {key: found}


def test_a_trial_trains_the_model_of_its_run() -> None:
    values = {"datasets": {"shop": {"source": "sample"}}, "tables": {"main": ["decorec"]}}
    with pytest.raises(
        DecorecError, match=r"tuning\.space\.decorec: expected keys of its model, found model\.name; .*"
    ):
        load({**values, "tuning": {"space": {"decorec": {"model.name": ["sasrec"]}}}})


@pytest.mark.parametrize(
    ("run", "space", "idle"),
    [
        ({"name": "ease"}, {"train.learning_rate": [0.01], "model.ridge": [5.0, 50.0]}, "train.learning_rate"),
        ({"name": "popularity"}, {"train.epochs": [1, 2], "train.fit.epochs": [3]}, "train.epochs, train.fit.epochs"),
        ({"name": "sasrec"}, {"train.stage2.learning_rate": [0.01]}, "train.stage2.learning_rate"),
        ({"name": "decorec"}, {"train.fit.epochs": [3]}, "train.fit.epochs"),
        # Every trial trains from nothing, in one process, and is judged by NDCG@10.
        (
            {"name": "decorec"},
            {"train.monitor": ["loss"], "train.stage1.monitor": ["MRR@5"]},
            "train.monitor, train.sta",
        ),
        ({"name": "sasrec"}, {"train.start": ["results/shop"], "train.devices": [2]}, "train.start, train.devices"),
        ({"name": "sasrec"}, {"train.nodes": [2]}, "train.nodes"),
        ({"name": "sasrec"}, {"train.tensorboard": [True], "train.epochs": [5]}, "train.tensorboard"),
        ({"name": "sasrec"}, {"train.fit.epochs": [3], "train.epochs": [300, 5]}, ""),
        ({"name": "ease"}, {"model.ridge": [50.0], "train.learning_rate": ["1e-3"]}, ""),
        # alpha is the weight of pairs across modalities.
        ({"name": "decorec"}, {"model.cross": [False, True], "model.alpha": [0.25]}, ""),
        ({"name": "decorec"}, {"model.cross": [False], "model.alpha": [0.25]}, "model.alpha"),
    ],
)
def test_keys_that_no_trial_heeds_are_refused(run: dict[str, Any], space: dict[str, Any], idle: str) -> None:
    values = {"datasets": {"shop": {"source": "sample"}}, "runs": {"decorec": {}, "one": {"model": run}}}
    values |= {"tables": {"main": ["decorec", "one"]}, "tuning": {"space": {"one": space}}}
    if not idle:
        assert load(values).tuning.space["one"] == space
        return
    message = rf"tuning\.space\.one: expected keys that change what its trials compute, found {idle}.*, .*{run['name']}"
    with pytest.raises(DecorecError, match=message):
        load(values)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.monitor": ["loss"]}, r"--space: expected keys that change .*, found train\.mon.*"),
        ({"train.stage1.epochs": [3]}, r"--space: .*found train\.stage1\.epochs, which no trial of .*sasrec.*"),
        ({"model.name": ["ease"]}, r"--space: expected keys of its model, found model\.name; .*"),
        ({"model.encoder.dropout": [2]}, r"--run, where tuning tries {'model.encoder.dropout': 2}.*\n.*dropout.*"),
        ({"model.drop": [0.1]}, r"--run, where tuning tries .*\n.*model\.sasrec\.drop: unknown key.*"),
    ],
)
def test_the_command_refuses_what_the_configuration_refuses(
    space: dict[str, list[Any]], message: str, tmp_path: Path
) -> None:
    given, tried = files(tmp_path, small.sequences()), SearchSpace.model_validate(space)
    with pytest.raises(DecorecError, match=f"tune: {message}"):
        tune(run=ONCE, settings=TuningConfig(trials=2), space=tried, **given)
    assert not given["cache"].exists()


def test_every_described_run_of_the_main_table_is_tuned_with_the_same_number_of_trials() -> None:
    runs = {name: {"model": {"name": name}} for name in ("decorec", "sasrec", "popularity")}
    runs["decorec-released"] = {"method": "released"}  # type: ignore[dict-item]
    runs["decorec-plus"] = {"model": {"name": "decorec"}}  # a variant: it follows what is chosen for its model
    plan = Plan(load({"datasets": {"shop": {"source": "sample"}}, "runs": runs, "tables": {"main": list(runs)}}))
    assert plan.trials("shop") == ["results/tuning/shop/decorec.parquet", "results/tuning/shop/sasrec.parquet"]
    inputs = plan.tuning("shop", "decorec")
    assert "results/shop/features/text.safetensors" in inputs["features"]
    assert "results/shop/interests/text.safetensors" in inputs["interests"]
    assert inputs["cooccurrence"] == "results/shop/graph/cooccurrence.npz"
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
