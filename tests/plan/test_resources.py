"""What jobs ask a scheduler for."""

from __future__ import annotations

from types import SimpleNamespace

from decorec.config import load
from decorec.plan.plan import Plan
from decorec.plan.resources import memory


def test_a_training_in_several_processes_asks_for_what_each_of_them_takes() -> None:
    runs = {
        "decorec": {},
        "wide": {"model": {"name": "sasrec"}, "train": {"devices": 3}},
        "floor": {"model": {"name": "popularity"}},
    }
    sections = {"runs": runs, "tables": {"main": ["decorec"]}, "train": {"devices": 2}}
    plan = Plan(load({"datasets": {"shop": {"source": "sample"}}, **sections}))
    assert [plan.devices("shop", run) for run in ("wide", "decorec", "floor")] == [3, 2, 1], "a floor is not trained"
    assert plan.production_devices("shop") == 2

    asked = memory(8, 3, lambda wildcards: plan.devices(wildcards.dataset, wildcards.run))
    files = SimpleNamespace(size=1e9)
    for run, processes in (("wide", 3), ("floor", 1)):
        assert asked(SimpleNamespace(dataset="shop", run=run), files, 2) == f"{processes * 2 * 11_000}MB"
    assert memory(4)(None, attempt=2) == "8000MB"
