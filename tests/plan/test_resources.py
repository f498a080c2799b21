"""What jobs ask a scheduler for."""

from __future__ import annotations

import re
from types import SimpleNamespace

from decorec.config import load
from decorec.plan.plan import Plan
from decorec.plan.resources import HELD, LIBRARIES, READ, memory, memory_of_rows, over_nodes
from tests.support.workplace import REPOSITORY


class Files(dict[str, float]):
    """Input files and their sizes, as Snakemake gives them."""

    @property
    def size_files(self) -> list[float]:
        return list(self.values())


def test_a_table_asks_for_more_where_the_rows_of_its_inputs_take_more() -> None:
    asked = memory_of_rows(2)
    shop = {f"runs/{run}/ranks.parquet": 4e5 for run in range(70)} | {"statistics.json": 3e3}
    assert [asked(None, Files(shop), attempt) for attempt in (1, 2)] == ["2000MB", "4000MB"], "of the paper's size"
    assert asked(None, Files(), 1) == "2000MB"
    large = Files({"a.parquet": 1e8, "b.parquet": 2e8, "text.safetensors": 1e9})
    expected = LIBRARIES + HELD * 1.3 + READ * 0.2
    assert asked(None, large, 1) == f"{round(1000 * expected)}MB", "what is held of all, and the largest table read"


def test_rules_that_read_rows_ask_by_them() -> None:
    """All tables and pages but those whose inputs do not grow with the data: trials, and tables that are drawn."""
    text = "\n".join((REPOSITORY / "workflow/rules" / name).read_text() for name in ("tables.smk", "report.smk"))
    bodies = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL))
    fixed = {name for name, body in bodies.items() if "mem=memory(" in body}
    assert fixed == {"tuning_table", "figure"}
    assert all("mem=memory_of_rows(" in body for name, body in bodies.items() if name not in fixed)


def test_a_training_in_several_processes_asks_for_what_each_of_them_takes() -> None:
    runs = {
        "decorec": {},
        "wide": {"model": {"name": "sasrec"}, "train": {"devices": 3, "nodes": 2}},
        "floor": {"model": {"name": "popularity"}},
    }
    sections = {"runs": runs, "tables": {"main": ["decorec"]}, "train": {"devices": 2, "nodes": 4}}
    plan = Plan(load({"datasets": {"shop": {"source": "sample"}}, **sections}))
    assert [plan.devices("shop", run) for run in ("wide", "decorec", "floor")] == [3, 2, 1], "a floor is not trained"
    assert [plan.nodes("shop", run) for run in ("wide", "decorec", "floor")] == [2, 4, 1]
    assert [plan.gpus("shop", run) for run in ("wide", "decorec", "floor")] == [6, 8, 1]
    assert [plan.of_production(ask)(dataset="shop") for ask in (plan.devices, plan.nodes, plan.gpus)] == [2, 4, 8]

    asked = memory(8, 3, lambda wildcards: plan.devices(wildcards.dataset, wildcards.run))
    files = SimpleNamespace(size=1e9)
    for run, processes in (("wide", 3), ("floor", 1)):
        assert asked(SimpleNamespace(dataset="shop", run=run), files, 2) == f"{processes * 2 * 11_000}MB"
    assert memory(4)(None, attempt=2) == "8000MB"


def test_a_job_on_one_node_has_no_resource_of_several() -> None:
    """`mpi` would take srun from it, whatever its value."""
    assert [over_nodes(lambda job, count=count: count)(None) for count in (1, 3)] == [None, 3]
    assert [over_nodes(lambda job, count=count: count, "")(None) for count in (1, 3)] == [None, ""]
