"""Fingerprints of code, and what runs share."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from decorec.config import describe, load
from decorec.plan import Plan, _closure, code_fingerprint

REPOSITORY = Path(__file__).parent.parent


def plan(**sections: object) -> Plan:
    return Plan(load({"datasets": {"shop": {"source": "sample"}}, **sections}))


def test_a_fingerprint_covers_what_a_step_imports_and_nothing_else() -> None:
    stages = _closure("decorec.stages")
    assert {"decorec.training", "decorec.losses", "decorec.models.decorec", "decorec.sequences"} <= stages
    assert not {"decorec.crawl", "decorec.tables", "decorec.cooccurrence"} & stages
    assert "decorec.cooccurrence" not in _closure("decorec.evaluate")
    assert code_fingerprint("decorec.stages") != code_fingerprint("decorec.cooccurrence")


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


def test_a_swap_of_two_values_changes_what_is_tracked() -> None:
    one = plan(graph={"window": 3}).section("graph")
    assert json.loads(one) == {"distance": "1/D", "window": 3}
    assert plan(crawl={"timeout": 5, "deadline": 9}).section("crawl") != plan(
        crawl={"timeout": 9, "deadline": 5}
    ).section("crawl")


def test_the_schema_is_the_one_that_the_configuration_generates() -> None:
    file = REPOSITORY / "workflow/schemas/config.schema.json"
    assert json.loads(file.read_text()) == describe(), "run: make schema"


@pytest.mark.parametrize(
    "name", ["config.yaml", *(f"config/{n}.yaml" for n in ("scientific", "hm", "real", "competitors", "paper"))]
)
def test_the_configurations_in_the_repository_are_valid(name: str) -> None:
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text()) | yaml.safe_load((REPOSITORY / name).read_text())
    assert load(config).datasets


def test_conda_environments_have_the_versions_of_the_lock_file() -> None:
    locked: dict[str, str] = {}
    for name, version in re.findall(r"^([\w-]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE):
        locked.setdefault(name, version)  # the first of several markers is the one of Python 3.11
    other_names = {"dask-core": "dask", "pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
    for file in (REPOSITORY / "envs").glob("*.yaml"):
        for entry in yaml.safe_load(file.read_text())["dependencies"]:
            name, _, version = entry.partition("=")
            if name != "python":
                assert locked[other_names.get(name, name)] == version, f"{file.name}: {name}"
