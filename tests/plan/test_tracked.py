"""What makes a step run again: its code, its values, and the content of files of the user's own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decorec.acquire.sources.registry import SOURCES
from decorec.config import load
from decorec.config.datasets import INGESTED
from decorec.models.registry import MODELS
from decorec.plan.fingerprints import closure, code_fingerprint, data_files
from decorec.plan.plan import Plan
from decorec.plan.tables import TABLES
from decorec.steps import STEPS
from tests.support.planned import plan
from tests.support.workplace import REPOSITORY


def test_a_fingerprint_covers_what_a_step_imports_and_nothing_else() -> None:
    found = closure("decorec.training.steps", "decorec.models.decorec")
    assert {"decorec.training.loop", "decorec.nn.losses", "decorec.models.decorec", "decorec.data.sequences"} <= found
    assert not {"decorec.acquire.crawl.step", "decorec.tables", "decorec.prepare.cooccurrence"} & found
    assert not {"decorec", "decorec.recommend.trained"} & found, "what is for use makes nothing train again"
    assert "decorec.prepare.cooccurrence" not in closure("decorec.evaluation.evaluate")
    assert code_fingerprint("decorec.training.steps") != code_fingerprint("decorec.prepare.cooccurrence")


EVERYWHERE = """
import decorec.at_the_top

class Kind:
    def method(self):
        with open(self):
            from decorec import in_a_method
try:
    from decorec import in_try
except ImportError:
    from decorec import in_a_handler
else:
    if __name__: from decorec import in_else
finally:
    from decorec import in_finally
match 1:
    case 2:
        from decorec import in_a_case
while False:
    pass
else:
    from decorec import after_a_loop
"""


def test_an_import_is_found_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decorec.plan.fingerprints.PACKAGE", tmp_path)
    names = set(re.findall(r"(?:at|in|after)_\w+", EVERYWHERE))
    for name in names:
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "everywhere.py").write_text(EVERYWHERE)
    assert closure("decorec.everywhere") == {"decorec.everywhere"} | {f"decorec.{name}" for name in names}


def test_code_is_looked_at_for_the_jobs_that_there_are() -> None:
    """Every job on a cluster reads all rules twice; a value in place of a function would be computed each time."""
    rules = (path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    values = [value for text in rules for value in re.findall(r"^ +code=(.*),$", text, re.MULTILINE)]
    assert len(values) > 20 and [value for value in values if not value.startswith("ask(")] == []


@pytest.mark.parametrize("step", ["train", "tune", "evaluate"])
def test_an_edit_of_one_model_changes_the_fingerprints_of_its_runs_alone(step: str) -> None:
    modules = {name: entry.partition(":")[0] for name, entry in MODELS.items()}
    for name, module in modules.items():
        own = closure(STEPS[step].module, module)
        others = {other for other in set(modules.values()) - {module} if other in own}
        assert not others, f"{name} would be trained again after an edit of {others}"
    fingerprints = {module: code_fingerprint(STEPS[step].module, module) for module in modules.values()}
    assert len(set(fingerprints.values())) == len(fingerprints)


def test_an_edit_of_one_source_ingests_its_own_data_sets_again_and_no_others() -> None:
    assert set(SOURCES) == set(INGESTED)
    own = {module: closure(STEPS["ingest"].module, module) for module in SOURCES.values()}
    for module, found in own.items():
        assert not (found & set(SOURCES.values())) - {module}, module
    assert "decorec.acquire.sources.tables" not in own["decorec.acquire.sources.category"]
    assert not set(SOURCES.values()) & closure(STEPS["crawl"].module), "the pictures are fetched from items.parquet"
    one = plan(datasets={"shop": {"source": "sample"}, "own": {"source": "table", "path": "nowhere"}})
    assert one.code_of_source("ingest", "shop") != one.code_of_source("ingest", "own")


def test_the_values_of_the_paper_belong_to_the_tables_that_print_them() -> None:
    def reads(step: str, file: str) -> bool:
        return file in {path.name for module in closure(STEPS[step].module) for path in data_files(module)}

    tables = {job.step for job in TABLES.values()} | {"results-page"}
    printing = {"comparison-table", "statistics-table", "recall-table", "claims-table", "results-page"}
    assert {step for step in tables if reads(step, "paper.yaml")} == printing
    assert [step for step in STEPS if reads(step, "small-clip.json")] == ["features", "add-items"]
    assert [step for step in STEPS if reads(step, "page.html.jinja")] == ["report-page"]


TABLE = {"datasets": {"shop": {"source": "table", "path": "own"}}}
ATOMIC = {"datasets": {"shop": {"source": "atomic", "path": "own", "name": "S"}}}
COPY = {"datasets": {"shop": {"source": "amazon2018", "category": "Gift_Cards", "base_url": "file:own"}}}
START = {
    "runs": {"sasrec": {"model": {"name": "sasrec"}, "train": {"start": "own"}}},
    "tables": {"main": ["sasrec"], "reference": "sasrec"},
}
OWN: dict[str, tuple[dict[str, Any], str, Callable[[Plan], str]]] = {
    "interactions": (TABLE, "interactions.csv", lambda found: found.own_content("shop")),
    "items": (TABLE, "items.csv", lambda found: found.own_content("shop")),
    "picture": (TABLE, "a.jpg", lambda found: found.local_pictures("shop")),
    "given split": (ATOMIC, "S.valid.inter", lambda found: found.own_content("shop")),
    "given features": (ATOMIC, "S.feat1CLS", lambda found: found.given_content("shop", "text")),
    "local copy": (COPY, "meta_Gift_Cards.json.gz", lambda found: found.own_content("shop")),
    "weights": ({"features": {"weights": "own/w.pt"}}, "w.pt", Plan.weights_content),
    "model": ({"features": {"model": "local-dir:own"}}, "open_clip_config.json", Plan.weights_content),
    "encoder": ({"features": {"encoder": "own/encoder.safetensors"}}, "encoder.safetensors", Plan.weights_content),
    "vectors": ({"features": {"text": "own/v.parquet"}}, "v.parquet", Plan.weights_content),
    "only": ({"recommend": {"only": "own/ids.txt"}}, "ids.txt", Plan.ids_content),
    "exclude_items": ({"recommend": {"exclude_items": "own/ids.txt"}}, "ids.txt", Plan.ids_content),
    "start": (START, "model.safetensors", lambda found: found.code_of_training("shop", "sasrec", "fit")),
    "start of production": (
        START,
        "model.safetensors",
        lambda found: found.of_production(found.code_of_training)(dataset="shop", stage="fit"),
    ),
}
"""Kind of a file of the user's own -> a configuration that names it, its name, and what tracks it."""


@pytest.mark.parametrize("kind", OWN)
def test_content_is_tracked_and_no_time(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another file in the place of the first with its size, and with its time or another one."""
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/items.csv").write_text("item,title,image\n1,a,a.jpg\n")
    sections, name, tracked = OWN[kind]
    file = Path("own", name)
    first = file.read_bytes() if file.exists() else b"item,user,timestamp\n1,1,1\n"
    second = first.replace(b"1", b"2")

    def state(content: bytes, time: int) -> str:
        file.write_bytes(content)
        os.utime(file, (time, time))
        return tracked(plan(**sections))

    before = state(first, 1_000)
    assert state(first, 2_000) == before
    assert state(second, 2_000) != before != state(second, 1_000)
    assert state(first, 3_000) == before
    file.unlink()
    assert tracked(plan(**sections)) != before


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan(**TABLE).own_content("shop") == plan(**COPY).own_content("shop") == plan().weights_content() == ""


def test_what_tuning_chooses_from_is_tracked() -> None:
    found = plan(runs={"sasrec": {"model": {"name": "sasrec"}}}, tables={"main": ["sasrec"], "reference": "sasrec"})
    assert json.loads(found.space("sasrec"))["model.encoder.layers"] == [1, 2]


def test_what_may_be_lost_in_reading_fetches_nothing_again() -> None:
    shop = {"source": "amazon2018", "category": "Gift_Cards"}
    before, after = (Plan(load({"datasets": {"shop": shop | keys}})) for keys in ({}, {"unreadable": 0.5}))
    assert after.origin("shop") == before.origin("shop") == before.dataset("shop")
    assert json.loads(after.dataset("shop")) == json.loads(before.dataset("shop")) | {"unreadable": 0.5}
    assert "unreadable" not in before.dataset("shop"), "the tracked values are those from before the key existed"


def test_the_name_of_a_data_set_in_the_paper_reads_nothing_again() -> None:
    """The tables that print the paper's values ask for it themselves."""
    for section in ({"source": "amazon2018", "category": "Arts"}, ATOMIC["datasets"]["shop"]):
        before, after = (Plan(load({"datasets": {"shop": section | paper}})) for paper in ({}, {"paper": "Arts"}))
        assert (after.dataset("shop"), after.origin("shop")) == (before.dataset("shop"), before.origin("shop"))
        assert json.loads(after.paper_names()) == {"shop": "Arts"} != json.loads(before.paper_names())
    assert after.given_splits("shop") == before.given_splits("shop")
    assert after.given_modality("shop", "text") == before.given_modality("shop", "text")


def test_the_length_of_given_features_reads_the_splits_no_second_time() -> None:
    shop = ATOMIC["datasets"]["shop"]
    before, after = (Plan(load({"datasets": {"shop": shop | own}})) for own in ({}, {"length": 10}))
    assert after.given_splits("shop") == before.given_splits("shop")
    for modality in ("text", "image"):
        assert json.loads(after.given_modality("shop", modality))["length"] == 10
        assert "length" not in json.loads(before.given_modality("shop", modality))


def test_a_swap_of_two_values_changes_what_is_tracked() -> None:
    one = plan(graph={"window": 3}).section("graph")
    assert json.loads(one) == {"distance": "1/D", "window": 3}
    assert plan(crawl={"timeout": 5, "deadline": 9}).section("crawl") != plan(
        crawl={"timeout": 9, "deadline": 5}
    ).section("crawl")
