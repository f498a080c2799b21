"""Which trainings, graphs and values runs share, and which are a run's own."""

from __future__ import annotations

import json

import pytest

from decorec.artifacts import layout
from decorec.errors import DecorecError
from tests.support.planned import plan


def test_runs_share_the_graph_and_stage_1_of_the_first_with_equal_values() -> None:
    runs = {
        "decorec": {},
        "released": {"method": "released"},
        "also-released": {"method": "released", "model": {"interests": False}},
        "other-clusters": {"interests": {"seed": 3}},
        "joint-learning-rate": {"train": {"learning_rate": 0.01}},
    }
    found = plan(runs=runs, tables={"main": ["decorec"]})
    assert [found.variant(name, "graph") for name in runs] == ["", "runs/released/", "runs/released/", "", ""]
    assert [found.variant(name, "interests") for name in runs] == [
        "",
        "runs/released/",
        "runs/released/",
        "runs/other-clusters/",
        "",
    ]
    assert found.graph_of_interests("runs/other-clusters/") == ""
    assert found.graph_of_interests("runs/released/") == "runs/released/"
    assert [found.first_stage_run(name) for name in runs] == [
        "decorec",
        "released",
        "released",
        "decorec",
        "joint-learning-rate",
    ]


def test_one_stage_is_a_run_of_its_own_and_leaves_the_others_as_they_were() -> None:
    runs = {"decorec": {}, "sasrec": {"model": {"name": "sasrec"}}, "no-phase": {"model": {"phased": False}}}
    found = plan(runs=runs, tables={"main": ["decorec"]})
    assert found.last_stage("no-phase") == "fit"
    needed = found.training("shop", "no-phase", "fit", "0")
    assert len(needed["features"]) == len(needed["interests"]) == 2 and needed["cooccurrence"]
    assert "phased" in found.run("no-phase", "fit")
    assert "phased" not in found.run("decorec", "stage2"), "what is tracked of older runs has not changed"


def test_a_variant_of_the_scores_shares_stage_1_and_leaves_the_others_as_they_were() -> None:
    found = plan(
        runs={"decorec": {}, "plus": {"experts": {"neighbourhood": 1, "floor": {"name": "ease"}}}},
        tables={"main": ["decorec"]},
    )
    first, second = (found.training("shop", run, "stage2", "0")["start"] for run in ("decorec", "plus"))
    assert first == second
    assert "experts" in found.run("plus", "stage2") and "experts" not in found.run("plus", "stage1")
    assert "experts" not in found.run("decorec", "stage2"), "what is tracked of older runs has not changed"
    assert found.code_of_run("train", "plus") != found.code_of_run("train", "decorec"), "the floor's code counts"


def test_values_chosen_on_a_data_set_hold_there_and_for_ablations_of_the_run() -> None:
    runs = {
        "decorec": {},
        "released": {"method": "released"},
        "no-cluster": {"model": {"interests": False}},
        "shallow": {"model": {"modal_layers": 1}},
        "sasrec": {"model": {"name": "sasrec"}},
    }
    sections = {"runs": runs, "tables": {"main": ["decorec"]}, "seeds": [0]}
    values = {"decorec": {"model": {"modal_layers": 2}, "train": {"learning_rate": 3e-4}}}
    plain, found = plan(**sections), plan(**sections, tuned={"shop": values, "elsewhere": {"sasrec": {}}})
    for name in ("released", "sasrec"):
        assert found.run(name, "fit", "shop") == plain.run(name, "fit", "shop")
    chosen = {name: json.loads(found.run(name, "stage2", "shop")) for name in ("decorec", "no-cluster", "shallow")}
    assert [run["train"]["learning_rate"] for run in chosen.values()] == [3e-4] * 3
    assert [run["model"]["modal_layers"] for run in chosen.values()] == [2, 2, 1], "a run's own difference stays"
    assert [found.first_stage_run(name, "shop") for name in chosen] == ["decorec", "decorec", "shallow"]
    assert json.loads(found.first_stages(["shallow"])) == {"shop": {"shallow": "shallow"}}
    assert json.loads(plain.first_stages(["shallow"])) == {"shop": {"shallow": "decorec"}}
    assert found.models(["shallow"])[0] == "results/shop/runs/shallow/seed-0/stage1/model.safetensors"
    assert found.whole_run("decorec") == plain.whole_run("decorec"), "tuning starts from the same values again"
    assert json.loads(found.chosen(["decorec", "sasrec"])) == {"shop": values}


@pytest.mark.parametrize(
    "values",
    [
        {"nothing": {}},
        {"decorec": {"model": {"modal_layers": 9}}},
        {"decorec": {"graph": {"distance": "1"}}},
        {"decorec": {"model": {"phased": False}}},
    ],
)
def test_chosen_values_that_fit_no_run_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(DecorecError, match=r"tuned\.shop"):
        plan(runs={"decorec": {}}, tables={"main": ["decorec"]}, tuned={"shop": values})


def test_sensitivity_adds_runs_that_share_what_they_can() -> None:
    runs = {"decorec": {"model": {"modal_layers": 2}}, "zero": {"model": {"modal_layers": 2, "alpha": 0}}}
    tables = {"main": ["decorec"], "alpha": [0.25, 0], "tau": [8], "clusters": [0.02, 0.1], "sensitivity_seeds": 2}
    found = plan(runs=runs, tables=tables, seeds=[3, 4, 5])
    assert json.loads(found.values("alpha")) == {"zero": 0.0, "alpha-0-25": 0.25, "decorec": 1.0}
    assert json.loads(found.values("tau")) == {"decorec": 2.0, "tau-8": 8.0}
    assert json.loads(found.values("clusters")) == {"clusters-0-02": 0.02, "decorec": 0.1}
    varied = json.loads(found.whole_run("alpha-0-25"))
    assert varied["model"].pop("alpha") == 0.25
    assert varied["model"]["modal_layers"] == 2, "a difference against the reference, not against the defaults"
    reference = json.loads(found.whole_run("decorec"))
    assert reference["model"].pop("alpha") == 1.0
    assert varied == reference
    assert found.first_stage_run("clusters-0-02") == "decorec", "only stage 2 has clusters"
    assert found.variant("clusters-0-02", "interests") == "runs/clusters-0-02/"
    assert found.graph_of_interests("runs/clusters-0-02/") == "", "the graph is shared"
    assert found.first_stage_run("alpha-0-25") == "alpha-0-25", "the loss of both stages has alpha"
    assert found.sensitivity("tau", layout.METRICS) == [
        f"results/shop/runs/{run}/seed-{seed}/metrics.json" for run in ("decorec", "tau-8") for seed in (3, 4)
    ]
    assert set(found.tables()) >= {"alpha", "tau", "clusters"}
    assert set(found.figures()) >= {"alpha", "tau", "clusters"}
