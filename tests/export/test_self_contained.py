"""A folder that was exported, moved away from all else: the same lists, and no damaged file is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec import load
from decorec.artifacts.files import write_table
from decorec.config.recommend import RecommendConfig
from decorec.errors import DecorecError
from decorec.export.step import export
from decorec.models import checkpoint
from decorec.recommend.extensible import ExtensibleRun
from decorec.recommend.new_items import with_new_items, write_added
from decorec.recommend.step import recommend
from decorec.serve.reload import load_warm, state_of
from tests.models.test_mapped_features import Shop
from tests.support import small
from tests.support.service import ITEMS, train

PLUS = {"floor": {"name": "content-ease"}, "weight": 0.3, "neighbourhood": 0.3, "repeats": "counted"}
RUNS: dict[str, tuple[dict[str, Any] | None, str, dict[str, Any]]] = {
    "decorec-plus": (PLUS, "stage2", {}),
    "hm4sr": (None, "fit", {"name": "hm4sr"}),
    "content-ease": (None, "fit", {"name": "content-ease"}),
    "item-knn": (None, "fit", {"name": "item-knn"}),
}
CUSTOMERS = "user,item,timestamp\n" + "".join(f"u{n % 7},item {n * 11 % 43},{n}\n" for n in range(60))


def lists(run: ExtensibleRun) -> list[Any]:
    data = small.sequences()
    histories = [[ITEMS[item] for item in data.items[data.offsets[u] : data.offsets[u + 1]]] for u in range(20)]
    times = [range(len(history)) for history in histories]
    return run.recommend_many([*histories, []], times=[*times, []])


def moved(run: Path, tmp_path: Path) -> Path:
    """The exported folder elsewhere; nothing else is left."""
    export(run=run, self_contained=True, output=tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere" / "results" / "model")
    shutil.rmtree(tmp_path / "results")
    return tmp_path / "elsewhere" / "results" / "model"


@pytest.mark.parametrize("name", RUNS)
def test_a_moved_folder_gives_the_same_lists(name: str, tmp_path: Path) -> None:
    experts, stage, model = RUNS[name]
    (tmp_path / "shop.csv").write_text(CUSTOMERS)
    run = tmp_path / "results/shop/production"
    train(run, 0, stage, experts, **model)
    groups = [["Lamps"] if number % 4 == 0 else ["Home"] for number in range(40)]
    titled = pl.DataFrame({"item": ITEMS, "title": [f"Lamp {item}" for item in ITEMS], "text": ITEMS})
    write_table(tmp_path / "results/shop/items.parquet", titled.with_columns(categories=pl.Series(groups)))
    (run / "card.md").write_text("# The model for production of shop\n")

    def step(folder: Path) -> bytes:
        settings = RecommendConfig(categories=["Lamps"])
        recommend(run=folder, settings=settings, histories=tmp_path / "shop.csv", output=tmp_path / "lists.csv")
        return (tmp_path / "lists.csv").read_bytes()

    expected, written = lists(load(run)), step(run)
    folder = moved(run, tmp_path)
    assert (folder / "results/shop/production/card.md").is_file()
    assert lists(load(folder)) == expected
    assert step(folder) == written
    loaded = load_warm(folder)
    assert loaded.trained.items == ITEMS
    assert loaded.catalogue.titles["item 3"] == "Lamp item 3"
    assert loaded.catalogue.picture("item 3") is None, "no picture is in it"


def test_features_that_stayed_in_their_file_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, run = Shop(tmp_path, {"name": "sasrec-features"}), tmp_path / "results/shop/runs/large/seed-0"
    files = run / "fit" / "model.safetensors", run / "fit" / "config.json"
    small.save(shop.model("fit", True, monkeypatch), shop.run, 0, ITEMS, *files)
    expected = lists(load(run))
    found = load(moved(run, tmp_path))
    assert set(found.model.item_data.mapped) == {"features.text", "features.image"}
    assert lists(found) == expected


def test_added_items_come_along(tmp_path: Path) -> None:
    run, place = tmp_path / "results/shop/runs/sasrec/seed-0", tmp_path / "results/shop/added/sasrec"
    train(run, 0, "fit", name="sasrec")
    own = load(run).checkpoint
    features = np.random.default_rng(0).normal(size=(41, 8)).astype(np.float32)
    files = place / "model.safetensors", place / "config.json"
    checkpoint.save(own.model, own.run, own.seed, own.items, own.counts, *files)
    write_added(with_new_items(own, ["new"], [features], small.sequences(), exposure=9), place)
    expected = lists(load(place))
    assert any(one.item == "new" for found in expected for one in found)
    assert lists(load(moved(place, tmp_path))) == expected


def test_damage_is_named_and_a_server_looks_again(tmp_path: Path) -> None:
    run = tmp_path / "results/shop/runs/sasrec/seed-0"
    train(run, 0, "fit", name="sasrec")
    write_table(tmp_path / "results/shop/items.parquet", pl.DataFrame({"item": ITEMS, "text": ITEMS}))
    folder = moved(run, tmp_path)
    seen = state_of(folder)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert {path.name for path in files} == {"model.safetensors", "config.json", "items.parquet"}
    for path in files:
        content = path.read_bytes()
        for wrong in (content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], content[:-1], None):
            path.unlink() if wrong is None else path.write_bytes(wrong)
            with pytest.raises(DecorecError, match=f"{path.name}: expected the file that .*manifest.json names"):
                load(folder)
        path.write_bytes(content)
    load(folder)
    assert state_of(folder) != seen
    (folder / "manifest.json").write_text("{")
    assert state_of(folder)
    with pytest.raises(DecorecError, match=r"manifest.json: expected what the step export has written"):
        load(folder)


def test_one_export_leaves_nothing_of_another(tmp_path: Path) -> None:
    run = tmp_path / "results/shop/runs/sasrec/seed-0"
    train(run, 0, "fit", name="sasrec")
    place = tmp_path / "results/shop/export/sasrec"
    export(run=run, self_contained=True)
    with pytest.raises(DecorecError, match="found the one that holds the run"):
        export(run=place / "self-contained", self_contained=True)
    assert load(place / "self-contained").items == ITEMS
    export(run=run, format="npy", output=place / "self-contained")
    assert {path.name for path in (place / "self-contained").rglob("*") if path.is_file()} == {
        "items.npy",
        "items.parquet",
        "manifest.json",
    }
    for words in ({}, {"format": "npy", "self_contained": True}):
        with pytest.raises(DecorecError, match="either --format or --self-contained"):
            export(run=run, **words)
