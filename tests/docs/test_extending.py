"""Every block of docs/extending.md, applied to a copy of the package and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from decorec.config import load
from decorec.config.base import merge
from decorec.plan.plan import Plan
from tests.figures.test_figures import tables
from tests.support.workplace import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
TRY_THE_MODEL = """
import torch
from tests.support import small
from decorec.config import load
from decorec.evaluation.metrics import parse_metric
from decorec.models.registry import build
from decorec.plan.plan import Plan
from decorec.evaluation.full_ranking import rank_users
from decorec.training.loop import train

config = load({"datasets": {"shop": {"source": "sample"}}, "runs": {"repeat": {"model": {"name": "repeat"}}},
               "tables": {"main": ["repeat"], "reference": "repeat"}})
run = config.run("repeat")
data = small.sequences()
model = build(run.model, small.item_data(data, run), "fit")
train(model, data, run.train.stage("fit"), 0)
ranks = rank_users(model, data, "test")
assert ranks.max() > ranks.min()
assert Plan(config).inputs("shop", "repeat", "fit", "0")["cooccurrence"] == []
hit, precision = (parse_metric(name)(ranks) for name in ("Hit@30", "Precision@30"))
assert abs(precision - hit / 30).max() < 1e-12 and hit.any()
assert "hits" in Plan(config).figures()
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the page changes it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(REPOSITORY / "decorec", folder / "decorec", ignore=shutil.ignore_patterns("__pycache__"))
    applied = 0
    for file, block in re.findall(r"A new file `([^`]+)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL):
        (folder / file).write_text(block)
        applied += 1
    place = r"In `([^`]+)`, (?:(after|in place of) `([^`]+)`|at the end):\n\n```(?:python|text)\n(.*?)```"
    places = re.findall(place, PAGE, re.DOTALL)
    for file, where, line, block in places:
        source = (folder / file).read_text()
        assert not line or source.count(f"{line}\n") == 1, f"{file}: {line}"
        kept = f"{line}\n" if where == "after" else ""
        changed = source.replace(f"{line}\n", kept + block) if line else source + block
        (folder / file).write_text(changed)
        applied += 1
    assert applied == len(blocks("(?:python|text)")), "a block that the page does not place"
    return folder


def run(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(folder), str(REPOSITORY / "tests")])
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_data_set_and_ablation_are_lines_of_the_configuration() -> None:
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    for block in blocks("yaml"):
        config = merge(config, yaml.safe_load(block))
    plan = Plan(load(config))
    assert "results/gifts/statistics.json" in plan.of_datasets("statistics.json")
    ranks = plan.of_runs(plan.config.tables.ablations)
    assert "results/gifts/runs/narrow/seed-0/ranks.parquet" in ranks
    assert plan.last_stage("narrow") == "stage2"
    assert "results/gifts/runs/tau-3/seed-0/metrics.json" in plan.sensitivity("tau", "metrics.json")
    assert "tau" in plan.figures()
    assert plan.variant("narrow", "graph") == "", "shares the graph"


def test_model_and_metric_work_as_soon_as_they_are_written(extended: Path) -> None:
    run(extended, "-c", TRY_THE_MODEL)


def test_the_figure_is_drawn(extended: Path, tmp_path: Path) -> None:
    main = tables(tmp_path)["main"]
    assert pl.read_csv(main)["metric"].n_unique() > 1
    outputs = [flag for kind in ("svg", "pdf") for flag in (f"--{kind}", str(tmp_path / f"hits.{kind}"))]
    run(extended, "-m", "decorec", "figure", "--name", "hits", "--tables", str(main), *outputs)
    assert "Hit@10" in (tmp_path / "hits.svg").read_text()
