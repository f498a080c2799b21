"""The split by time from a shop's tables to the tables of results, with the overlay in config/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from decorec.acquire.ingest import ingest
from decorec.artifacts import layout
from decorec.config import load
from decorec.data.sequences import Sequences
from decorec.evaluation.evaluate import evaluate
from decorec.plan.plan import Plan
from decorec.prepare.split import split
from decorec.tables.beyond import beyond_table
from decorec.tables.colditems import colditems_table
from decorec.tables.labels import PaperNames
from decorec.tables.results_page import ChosenValues, results_page
from decorec.tables.statistics import statistics_table
from decorec.training.steps import train
from tests.support.fabricated_ranks import outputs_of, records
from tests.support.workplace import REPOSITORY

RUNS = ["sasrec", "popularity"]
SHOP: dict[str, Any] = {
    "datasets": {"shop": {"source": "table", "path": "data"}},
    "filter": {"kcore": 3, "require": []},
    "model": {"name": "sasrec", "dim": 8, "encoder": {"heads": 2, "feed_forward": 8}},
    "train": {"epochs": 2},
    "seeds": [0],
    "runs": {"sasrec": {}, "popularity": {"model": {"name": "popularity"}}},
    "tables": {"main": RUNS, "reference": "sasrec"},
}


def write_shop(folder: Path) -> None:
    """Forty users of a year each begin somewhere; the items 20 to 24 appear at its end."""
    random = np.random.default_rng(0)
    sales = []
    for user in range(40):
        for day in sorted(random.integers(0, 365, 8)):
            item = random.integers(20, 25) if day > 330 and random.random() < 0.6 else random.integers(0, 20)
            sales.append((f"u{user}", f"i{item}", 1_500_000_000 + 86_400 * int(day) + len(sales)))
    folder.mkdir()
    pl.DataFrame(sales, schema=["user", "item", "timestamp"], orient="row").write_csv(folder / "interactions.csv")
    items = [f"i{number}" for number in range(25)]
    pl.DataFrame({"item": items, "title": items}).write_csv(folder / "items.csv")


def test_the_chain_with_the_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(Path("data"))
    overlay = yaml.safe_load((REPOSITORY / "config/temporal.yaml").read_text())
    config = load(SHOP | overlay | {"train": SHOP["train"] | overlay["train"]})
    plan = Plan(config)

    def at(pattern: str, **place: Any) -> Path:
        return Path(layout.fill(pattern, dataset="shop", **place))

    given = {"interactions": at(layout.INTERACTIONS), "catalogue": at(layout.CATALOGUE)}
    raw = {"reviews": Path("data/interactions.csv"), "meta": Path("data/items.csv")}
    ingest(dataset=config.datasets["shop"], filter=config.filter, counts=at(layout.COUNTS), **given, **raw)
    known = {"vocab": at(layout.VOCAB), "sequences": at(layout.SEQUENCES)}
    files = {**known, "statistics": at(layout.STATISTICS)}
    split(filter=config.filter, settings=config.split, features=[], **given, **files)
    for run in RUNS:
        place = {"run": run, "seed": 0, "stage": "fit"}
        model, about = at(layout.MODEL, **place), at(layout.MODEL_CONFIG, **place)
        train(
            **known,
            **{"run": plan.runs[run], "stage": "fit", "seed": 0, "code": "", "features": [], "interests": []},
            **{"state": tmp_path / "state", "model": model, "config": about, "history": at(layout.HISTORY, **place)},
        )
        names = ("ranks", "validation", "lists", "metrics")
        patterns = {name: getattr(layout, name.upper()) for name in names}
        written = {name: at(pattern, run=run, seed=0) for name, pattern in patterns.items()}
        evaluate(**known, model=model, config=about, **written)

    data = Sequences.read(known["sequences"])
    training = data.training()
    assert data.timestamps is not None and training.timestamps is not None
    for part in ("valid", "test"):
        some = data.having(part)
        assert some.timestamps is not None
        assert training.timestamps.max() < some.timestamps[some.places(part)].min()
    ranks = [at(layout.RANKS, run=run, seed=0) for run in RUNS]
    shared = {"runs": RUNS, "evaluate": config.evaluate, "ranks": ranks, "statistics": [files["statistics"]]}
    colditems_table(**shared, **outputs_of(tmp_path, "cold"))
    statistics_table(statistics=[files["statistics"]], paper=PaperNames({}), **outputs_of(tmp_path, "statistics"))
    beyond_table(
        **{"runs": RUNS, "evaluate": config.evaluate, "features": []},
        **{"lists": [at(layout.LISTS, run=run, seed=0) for run in RUNS]},
        **{"vocabs": [known["vocab"]], "sequences": [known["sequences"]]},
        **outputs_of(tmp_path, "beyond"),
    )
    page = {
        "beyond": tmp_path / "beyond.csv",
        "advantages": [],
        "references": ["sasrec"],
        "paper": PaperNames({}),
        "chosen": ChosenValues({}),
        "output": tmp_path / "page.md",
    }
    results_page(**shared, **page)
    (row,) = records(tmp_path / "statistics.csv")
    assert (row["protocol"], row["early_percent"]) == ("temporal", "0.000000")
    cold = int(row["cold_items"])
    assert cold > 1 and float(row["cold_percent"]) > 5
    for found in records(tmp_path / "cold.csv"):
        if (found["candidates"], found["metric"]) == ("cold", "Hit@10"):
            assert float(found["mean"]) == pytest.approx(min(10 / cold, 1)), "ids know nothing of items without sales"
            assert int(found["users"]) == round(float(row["cold_percent"]) * int(row["test_targets"]) / 100)
    assert "one target each: the first item after it" in (tmp_path / "page.md").read_text()
