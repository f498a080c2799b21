"""A shop without any picture: the whole chain on texts and ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from decorec.data.item_features import FeatureFile
from tests.support.workplace import TINY, Workplace

pytestmark = pytest.mark.workflow
ITEMS, USERS = 20, 24
TARGETS = (
    "results/tables/main.csv",
    "results/shop/gallery.json",
    "results/shop/recommendations.csv",
    "results/shop/production/card.md",
    "results/shop/verdict.md",
)
SHOP: dict[str, Any] = TINY | {
    "datasets": {"shop": {"source": "table", "path": "data"}},
    "filter": {"kcore": 3, "require": ["text"]},
    "features": {"encoder": "clip", "model": "small-clip", "weights": "weights.safetensors"},
    "runs": {
        "decorec": {"model": {"modalities": ["text"]}},
        "both": {},
        "popularity": {"model": {"name": "popularity"}},
    },
    "tables": {"main": ["decorec"], "verdict": "both"},
    "report": {"runs": ["decorec", "both"], "users": 2},
    "recommend": {"run": "popularity", "production": True},
}


def write_shop(folder: Path) -> None:
    """Tables without a column image, and weights of an encoder."""
    from decorec import gpus
    from decorec.features.clip import SMALL_CLIP, build_clip

    random = np.random.default_rng(0)
    (folder / "data").mkdir()
    items = [f"i{number}" for number in range(ITEMS)]
    pl.DataFrame({"item": items, "title": [f"Thing {number}" for number in range(ITEMS)]}).write_csv(
        folder / "data/items.csv"
    )
    sales = [
        (f"u{user}", f"i{item}", 1_500_000_000 + 60 * day)
        for user in range(USERS)
        for day, item in enumerate(random.permutation(ITEMS)[:6])
    ]
    sales.append(("once", "i3", 1_500_000_000))  # whom no k-core keeps
    pl.DataFrame(sales, schema=["user", "item", "timestamp"], orient="row").write_csv(folder / "data/interactions.csv")
    encoder = build_clip(SMALL_CLIP.stem, None, "fp32", gpus.device("cpu"))
    weights = {name: tensor.numpy() for name, tensor in encoder.model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")


def test_the_chain_on_texts_and_ids(tmp_path: Path) -> None:
    shop = Workplace(tmp_path / "work", SHOP, *TARGETS)
    write_shop(shop.folder)
    result = shop.snakemake("--show-failed-logs", "--", *TARGETS)
    assert result.returncode == 0, result.stdout + result.stderr
    results = shop.folder / "results"
    text, image = (FeatureFile.read(results / f"shop/features/{name}.safetensors") for name in ("text", "image"))
    assert text.present.all() and not image.present.any()
    lists = pl.read_csv(results / "shop/recommendations.csv")
    assert lists["user"].unique().sort().to_list() == sorted(["once", *(f"u{user}" for user in range(USERS))])
    assert set(lists.group_by("user").len()["len"]) == {12}
    popular = pl.read_csv(shop.folder / "data/interactions.csv")["item"].value_counts().sort("count")
    assert lists.filter(pl.col("rank") == 1)["score"].max() == popular["count"][-1], (
        "of all interactions that were kept"
    )
    card = (results / "shop/production/card.md").read_text()
    assert f"{USERS} customers, {ITEMS} items, {6 * USERS} interactions. The first is of 2017-07-14" in card
    assert f"The source has {USERS + 1} customers and {ITEMS} items" in card
    assert "i3" not in lists.filter(pl.col("user") == "once")["item"]
    assert pl.read_csv(results / "tables/main.csv")["model"].unique().to_list() == ["decorec"]
    found = json.loads((results / "shop/gallery.json").read_text())
    assert all(list(user["runs"]) == ["decorec"] for user in found["users"])
    assert all(item["picture"] is None and list(item["clusters"]) == ["text"] for item in found["items"].values())
    verdict = (results / "shop/verdict.md").read_text().splitlines()[0]
    assert re.fullmatch(r"Of 1,000 customers, .* with text and for \d+ without \(difference .*", verdict)
    ranked = {file.parts[-3] for file in (results / "shop/runs").glob("*/*/ranks.parquet")}
    assert ranked == {"decorec", "both-ids-alone", "popularity"}, "decorec has the texts of both"
    assert not (results / "shop/interests/image.safetensors").exists()
