"""Items in two dimensions: what is drawn, that it is the same again, and that near things stay near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from decorec.artifacts.files import write_arrays
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.tables import embedding
from decorec.tables.embedding import embedding_table, flatten, represent
from tests.support import small

INTEREST = np.arange(40) % 5


def world(folder: Path) -> tuple[list[Path], list[Path]]:
    data, models = small.sequences(), []
    for name, chosen in (("no-cluster", small.run(interests=False)), ("decorec", small.run())):
        place = folder / "shop" / "runs" / name / "seed-0" / "stage2"
        items = [f"i{number}" for number in range(40)]
        model = small.model(data, chosen, "stage2")
        small.save(model, chosen, 0, items, place / "model.safetensors", place / "config.json")
        models.append(place / "model.safetensors")
    interests = folder / "shop" / "interests" / "text.safetensors"
    write_arrays(interests, {"assignment": INTEREST})
    return models, [interests]


def test_one_row_per_run_and_item_and_the_same_bytes_again(tmp_path: Path) -> None:
    models, interests = world(tmp_path)
    for name in ("one.csv", "two.csv"):
        embedding_table(models=models, interests=interests, csv=tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    table = pl.read_csv(tmp_path / "one.csv")
    assert table["run"].to_list() == ["no-cluster"] * 40 + ["decorec"] * 40
    for _, part in table.group_by("run"):
        assert part["item"].to_list() == list(range(40))
        assert part["interest"].to_list() == INTEREST.tolist()
        assert set(part["size"]) == {8}
        assert part["silhouette"].n_unique() == 1
        assert part.select("x", "y").n_unique() == 40


def test_silhouette_by_hand(tmp_path: Path) -> None:
    models, interests = world(tmp_path)
    embedding_table(models=models, interests=interests, csv=tmp_path / "table.csv")
    model = checkpoint.load(models[1], models[1].with_name("config.json")).model
    text, image = (torch.nn.functional.normalize(part, dim=1) for part in model.item_representations().detach())
    distance = 1 - ((text @ text.T + image @ image.T) / 2).numpy().astype(np.float64)
    values = []
    for item in range(40):
        own = [distance[item, other] for other in range(40) if INTEREST[other] == INTEREST[item] and other != item]
        others = [distance[item, interest == INTEREST].mean() for interest in range(5) if interest != INTEREST[item]]
        near, far = np.mean(own), min(others)
        values.append((far - near) / max(near, far))
    found = pl.read_csv(tmp_path / "table.csv").filter(run="decorec")["silhouette"][0]
    assert found == pytest.approx(np.mean(values), abs=1e-5)


def test_near_points_stay_near() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 25)
    x = (np.eye(4)[groups] + random.normal(scale=0.05, size=(100, 4))).astype(np.float32)
    flat = flatten(x)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + np.diag([np.inf] * 100)
    assert (groups[distance.argmin(1)] == groups).mean() > 0.95


def test_of_many_items_a_fixed_sample_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "AT_MOST", 15)
    models, interests = world(tmp_path)
    embedding_table(models=models, interests=interests, csv=tmp_path / "table.csv")
    drawn = [part["item"].to_list() for _, part in pl.read_csv(tmp_path / "table.csv").group_by("run")]
    assert len(drawn[0]) == 15
    assert drawn[0] == drawn[1] == sorted(set(drawn[0])), "the same items for both runs"


def test_representations_are_of_length_one_per_modality() -> None:
    data, run = small.sequences(), small.run()
    x = represent(small.model(data, run, "stage2"))
    assert x.shape == (40, 2 * 16)
    assert np.linalg.norm(x[:, :16], axis=1) == pytest.approx(np.ones(40), abs=1e-5)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    models, interests = world(tmp_path)
    with pytest.raises(DecorecError, match="shop/interests/NAME"):
        embedding_table(models=models, interests=[], csv=tmp_path / "table.csv")
    write_arrays(interests[0], {"assignment": INTEREST[:-1]})
    with pytest.raises(DecorecError, match="40 items, found 39"):
        embedding_table(models=models, interests=interests, csv=tmp_path / "table.csv")
    with pytest.raises(DecorecError, match="at least 4"):
        flatten(np.eye(3, dtype=np.float32))
