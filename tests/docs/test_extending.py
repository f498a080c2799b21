"""Every block of the pages docs/how-to/new-*.md, and of runs.md: those that change code are applied to a copy of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from decorec.config import load
from decorec.config.base import merge
from decorec.plan.plan import Plan
from tests.figures.test_figures import tables
from tests.support.fabricated_ranks import (
    HISTORIES,
    RUNS,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    outputs_of,
    records,
    under,
)
from tests.support.workplace import REPOSITORY, TINY, Workplace

PAGES = {
    name: (REPOSITORY / f"docs/how-to/{name}.md").read_text(encoding="utf-8")
    for name in ("new-source", "new-modality", "new-model", "new-table", "runs")
}
PAGE = "".join(text for name, text in PAGES.items() if name != "new-modality")
"""Those whose blocks change the code."""
TRY_THE_MODEL = """
from tests.support import small
from decorec.config import load
from decorec.evaluation.metrics import parse_metric
from decorec.models.registry import build
from decorec.plan.plan import Plan
from decorec.evaluation.full_ranking import rank_users
from decorec.training.loop import train_model

runs = {name: {"model": {"name": name}} for name in ("repeat", "factored")}
config = load({"datasets": {"shop": {"source": "sample"}}, "runs": runs,
               "tables": {"main": ["repeat", "factored"], "reference": "repeat"}})
run = config.run("repeat")
data = small.sequences()
model = build(run, small.item_data(data, run), "fit")
train_model(model, data, run.train.stage("fit"), 0)
ranks = rank_users(model, data, "test")
assert ranks.higher.max() > ranks.higher.min() and ranks.equal.any()
assert Plan(config).training("shop", "repeat", "fit", "0")["cooccurrence"] == []
hit, precision = (parse_metric(name)(ranks) for name in ("Hit@30", "Precision@30"))
assert abs(precision - hit / 30).max() < 1e-12 and hit.any()
assert "hits" in Plan(config).figures()

run = small.run(name="factored", order=2)
model = build(run, small.item_data(data, run), "fit")
train = run.train.stage("fit").model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.01})
history = train_model(model, data, train, 0)
assert history["loss"][-1] < 0.5 * history["loss"][0] and history.filter("best")["NDCG@10"].item() > 0.5
assert Plan(config).tuned_runs() == ["factored"]
"""
PLAN_THE_TABLE = """
from decorec.config import load
from decorec.plan.plan import Plan

plan = Plan(load({"datasets": {"shop": {"source": "sample"}}, "seeds": [0]}))
assert "median" in plan.tables() and "median" in plan.printed_tables()
files = [f"results/shop/runs/{run}/seed-0/ranks.parquet" for run in ("decorec", "sasrec")]
assert plan.table_files("median") == {"ranks": files}
assert plan.table_call("median") == f"median-table --ranks {' '.join(files)} --runs decorec sasrec"
assert plan.code_of_table("median") != plan.code_of_table("main")
"""


def blocks(language: str, text: str = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and what tests share, as the pages change them."""
    folder = tmp_path_factory.mktemp("extended")
    for package in ("decorec", "tests/support"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "tests/__init__.py", folder / "tests")
    applied = 0
    for file, block in re.findall(r"A new file `([^`]+)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL):
        assert not (folder / file).exists()
        (folder / file).write_text(block)
        applied += 1
    place = r"In `([^`]+)`,\s(?:(before|after|in place of)\s`([^`]+)`|at the end):\n\n```(python|text)\n(.*?)```"
    for file, where, line, language, block in re.findall(place, PAGE, re.DOTALL):
        source = (folder / file).read_text()
        line = line.replace("\n", " ")  # as Markdown shows a piece of code that goes over two lines
        assert not line or source.count(f"{line}\n") == 1, f"{file}: {line}"
        apart = "\n\n" if language == "python" else ""  # definitions stand apart, lines do not
        new = {
            "before": f"{block}{apart}{line}\n",
            "after": f"{line}\n{apart}{block}",
            "in place of": block,
        }
        (folder / file).write_text(source.replace(f"{line}\n", new[where]) if line else source + apart + block)
        applied += 1
    assert applied == len(blocks("(?:python|text)")), "a block that the page does not place"
    return folder


def run(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def flags(files: dict[str, Path]) -> list[str]:
    return [word for kind, file in files.items() for word in (f"--{kind}", str(file))]


def test_data_set_and_ablation_are_lines_of_the_configuration() -> None:
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    for block in blocks("yaml", PAGES["new-source"] + PAGES["runs"]):
        config = merge(config, yaml.safe_load(block))
    plan = Plan(load(config))
    assert "results/gifts/statistics.json" in plan.of_datasets("results/{dataset}/statistics.json")
    ranks = plan.of_runs(plan.config.tables.ablations)
    assert "results/gifts/runs/narrow/seed-0/ranks.parquet" in ranks
    assert plan.last_stage("narrow") == "stage2"
    metrics = "results/{dataset}/runs/{run}/seed-{seed}/metrics.json"
    assert "results/gifts/runs/tau-3/seed-0/metrics.json" in plan.sensitivity("tau", metrics)
    assert "tau" in plan.figures()
    assert plan.variant("narrow", "graph") == "", "shares the graph"


def test_model_and_metric_work_as_soon_as_they_are_written(extended: Path) -> None:
    run(extended, "-c", TRY_THE_MODEL)


def test_the_figure_is_drawn(extended: Path, tmp_path: Path) -> None:
    main = tables(tmp_path)["main"]
    assert pl.read_csv(main)["metric"].n_unique() > 1
    outputs = {kind: tmp_path / f"hits.{kind}" for kind in ("svg", "pdf")}
    run(extended, "-m", "decorec", "figure", "--name", "hits", "--tables", str(main), *flags(outputs))
    assert "Hit@10" in (tmp_path / "hits.svg").read_text()


def test_the_table_is_made_and_planned(extended: Path, tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    outputs = outputs_of(tmp_path, "median")
    run(extended, "-m", "decorec", "median-table", "--ranks", *map(str, files), "--runs", *RUNS, *flags(outputs))
    rows = records(outputs["csv"])
    keys = [(row["dataset"], row["history"], row["run"]) for row in rows]
    assert keys == [*product(("scientific", "shop"), HISTORIES, RUNS)]
    for row in rows:
        higher, equal = np.concatenate(list(under(row["history"], ranks[row["dataset"]][row["run"]]).values())).T
        expected = np.median(1 + higher + equal / 2)
        assert float(row["median"]) == pytest.approx(expected)
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=2)
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    run(extended, "-c", PLAN_THE_TABLE)


def planned(workplace: Workplace, target: str) -> set[str]:
    """Rules that a call would run."""
    result = workplace.snakemake("--dry-run", "--", target)
    assert result.returncode == 0, result.stdout + result.stderr
    return set(re.findall(r"^(\w+) +\d+$", result.stdout + result.stderr, re.MULTILINE))


def test_the_source_is_ingested_by_the_workflow(extended: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {**TINY, "datasets": {"till": {"source": "till", "path": "data/till"}}}
    workplace = Workplace(tmp_path / "place", TINY)
    workplace.configure(config)
    shutil.copytree(extended / "decorec", workplace.folder / "decorec", dirs_exist_ok=True)
    data = workplace.folder / "data" / "till"
    data.mkdir(parents=True)
    sales = [(f"u{user}", f"0{item}", 1_000 + item) for user in range(6) for item in range(6)]
    rows = [(user, item, f"{time}000") for user, item, time in [*sales, ("u0", "rare", 5)]]
    lines = [",".join(row) for row in [("customer", "article", "sold"), *rows, ("u1", "01", "")]]
    (data / "sales.csv").write_text("\n".join(lines) + "\n")
    goods = [(f"0{item}", f"A thing <b>{item}</b>") for item in range(5)]
    goods = [("article", "name"), *goods, ("05", "Last"), ("00", "Again"), ("rare", "Bought once")]
    (data / "goods.csv").write_text("\n".join(map(",".join, goods)) + "\n")
    folder = workplace.folder / "results" / "till"
    result = workplace.snakemake("results/till/items.parquet")
    assert result.returncode == 0, result.stdout + result.stderr
    kept = pl.read_parquet(folder / "interactions.parquet")
    assert kept.select("user", "item", "timestamp").rows() == sales
    assert kept["rating"].null_count() == len(sales)
    items = pl.read_parquet(folder / "items.parquet")
    assert items["item"].to_list() == [f"0{item}" for item in range(6)]
    assert items["text"].to_list()[0] == "A thing 0." and items["title"].to_list()[0] == "A thing 0"
    assert items["image_urls"].to_list()[4:] == [["photos/04.jpg"], ["photos/05.jpg"]]
    counts = json.loads((folder / "ingest.json").read_text())
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 0, "no timestamp": 1}
    assert counts["items"]["dropped"] == {"no item": 0, "repeated item": 1}
    assert {"crawl", "features", "split", "train", "table"} <= planned(workplace, "results/tables/main.csv")
    assert planned(workplace, "results/till/items.parquet") == set()
    (data / "goods.csv").write_text("\n".join(map(",".join, goods[:-1])) + "\n")
    assert planned(workplace, "results/till/items.parquet") == {"ingest", "total"}, "its files are inputs"


def test_a_modality_is_trained_by_the_workflow(tmp_path: Path) -> None:
    """The example of the page: its data, its configuration, and its table but for what processors make of digits."""
    page = PAGES["new-modality"]
    (script,), (overlay,), (shown,) = (blocks(language, page) for language in ("python", "yaml", "text"))
    named = {"runs": {"decorec": {}, "popularity": {"model": {"name": "popularity"}}}}
    workplace = Workplace(tmp_path / "place", merge(named, yaml.safe_load(overlay)))
    subprocess.run([sys.executable, "-c", script], cwd=workplace.folder, check=True)
    result = workplace.snakemake("results/tables/main.csv")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [row for row in records(workplace.folder / "results/tables/main.csv") if row["metric"] == "Hit@10"]
    found = {(row["history"], row["model"]): float(row["mean"]) for row in rows}
    lines = [line.replace("*", "").split() for line in shown.splitlines()[2:]]
    assert {name for name, *_ in lines} == {name for _, name in found}
    for name, kept, _, _, masked, *_ in lines:
        assert abs(found["kept", name] - float(kept)) < 0.06 and abs(found["masked", name] - float(masked)) < 0.09
    for history in HISTORIES:
        heard = min(found[history, "audio-only"], found[history, "with-audio"])
        assert heard > found[history, "decorec"] + 0.03, "only the sound says what is liked"
    run_folder = workplace.folder / "results/songs/runs/with-audio/seed-0"
    for stage in ("stage1", "stage2"):
        trained = json.loads((run_folder / stage / "config.json").read_text())
        assert trained["run"]["model"]["modalities"] == ["text", "image", "audio"]
    names = {file.name for file in (workplace.folder / "results/songs/interests").iterdir()}
    assert names == {f"{name}.safetensors" for name in ("text", "image", "audio")}
    log = (workplace.folder / "logs/songs/atomic-features-audio.log").read_text()
    assert "120 items, 110 present, width 24" in log and "`120 items, 110 present, width 24`" in page
