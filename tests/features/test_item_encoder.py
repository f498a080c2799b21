"""An encoder in a file: nothing is fitted, old vectors keep their bytes, and only what is new is encoded."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from decorec.artifacts.files import write_table
from decorec.artifacts.layout import picture_path
from decorec.artifacts.seal import provenance
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features import fitted_encoder
from decorec.features.clip import build_clip
from decorec.features.item_encoder import encode_items
from decorec.features.step import features
from tests.support.small_shop import drawing, step_files, store, write_shop

ITEMS = 40
FIT = {"encoder": "fit", "epochs": 1, "batch_size": 16, "device": "cpu"}


def encoded(folder: Path, settings: dict[str, Any]) -> dict[str, bytes]:
    """The files that the step writes."""
    files = step_files(folder)
    features(settings=FeaturesConfig.model_validate(settings), **files)
    return {name: files[name].read_bytes() for name in ("encoder", "text", "image")}


def pin(folder: Path) -> dict[str, Any]:
    """Settings that name a copy of the encoder."""
    shutil.copy(folder / "encoder.safetensors", folder / "pinned.safetensors")
    return {"encoder": str(folder / "pinned.safetensors"), "device": "cpu"}


def add_product(folder: Path) -> str:
    """A new item, first in the tables; returns the checksum of its picture."""
    sha256 = store(folder / "cache", drawing(ITEMS + 5, np.random.default_rng(9))[0])
    for name, row in (("items", {"text": "green square of cotton"}), ("images", {"status": "ok", "sha256": sha256})):
        table = pl.read_parquet(folder / f"{name}.parquet")
        new = pl.DataFrame({"item": ["new"], **{key: [value] for key, value in row.items()}}, schema=table.schema)
        pl.concat([new, table]).write_parquet(folder / f"{name}.parquet")
    return sha256


def counted(log: str) -> dict[str, tuple[int, int]]:
    """Kind -> how many were encoded, and how many there are."""
    return {kind: (int(new), int(all_)) for new, all_, kind in re.findall(r"encoding (\d+) of (\d+) (\w+)", log)}


@pytest.mark.parametrize("text", ["lsa", "encoder"])
def test_one_new_product_encodes_one_row_and_the_others_keep_their_bytes(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path, ITEMS)
    before = encoded(tmp_path, FIT | {"text": text})
    old = {name: FeatureFile.read(step_files(tmp_path)[name]) for name in ("text", "image")}
    pinned = pin(tmp_path)
    for work in ("_descend", "_train"):
        monkeypatch.setattr(fitted_encoder, work, lambda *_: pytest.fail("fitted again"))
    assert encoded(tmp_path, pinned) == before, "the pinned encoder is the one that was fitted"
    sha256 = add_product(tmp_path)
    caplog.clear()
    with caplog.at_level("INFO", "decorec"):
        after = encoded(tmp_path, pinned)
    kinds = {"pictures": (1, ITEMS + 1), "texts": (1, ITEMS + 1)}
    assert counted(caplog.text) == {
        kind: kinds[kind] for kind in (["texts"] if text == "encoder" else []) + ["pictures"]
    }
    assert after["encoder"] == before["encoder"]
    shutil.rmtree(tmp_path / "cache/features")
    assert encoded(tmp_path, pinned) == after, "a row does not depend on what is encoded with it"
    table = pl.DataFrame(
        {
            "item": ["new", "without"],
            "text": ["green square of cotton", " "],
            "picture": [str(picture_path(tmp_path / "cache", sha256)), None],
        }
    )
    alone = encode_items(Path(pinned["encoder"]), table, device="cpu")
    for name, known in old.items():
        found = FeatureFile.read(step_files(tmp_path)[name])
        assert found.items == ["new", *known.items] and found.metadata["encoder"] == known.metadata["encoder"]
        assert np.array_equal(found.x[1:], known.x) and found.x[0].any()
        assert np.array_equal(alone[name].x[0], found.x[0]), "the same without the shop"
        assert alone[name].present.tolist() == [True, False] and not alone[name].x[1].any()
    with pytest.raises(DecorecError, match=r"nowhere\.jpg: expected a picture, found .*; correct its path"):
        encode_items(Path(pinned["encoder"]), table.with_columns(picture=pl.lit("nowhere.jpg")))


def test_the_vectors_of_an_ensemble_stand_side_by_side_and_none_counts_more(tmp_path: Path) -> None:
    write_shop(tmp_path, ITEMS)
    alone = []
    for seed in (3, 4):
        encoded(tmp_path, FIT | {"text": "encoder", "seed": seed})
        alone.append({name: FeatureFile.read(step_files(tmp_path)[name]) for name in ("text", "image")})
    fitted = sorted((tmp_path / "cache/encoders").iterdir())
    together = encoded(tmp_path, FIT | {"text": "encoder", "seed": 3, "ensemble": 2})
    assert sorted((tmp_path / "cache/encoders").iterdir()) == fitted, "the two that are there already"
    for name, of_first in alone[0].items():
        found = FeatureFile.read(step_files(tmp_path)[name])
        assert found.metadata["encoder"] == "fit" and found.metadata["length"] == "10"
        assert found.metadata["weights"] == f"{of_first.metadata['weights']}, {alone[1][name].metadata['weights']}"
        sides = np.concatenate([of_first.x, alone[1][name].x], axis=1)
        assert found.x == pytest.approx(sides / np.sqrt(2), abs=1e-5)
    shutil.rmtree(tmp_path / "cache/encoders")
    assert encoded(tmp_path, pin(tmp_path)) == together, "the file holds both"


def test_what_is_kept_or_copied_is_taken_beside_newer_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the workflow runs the step, where files say what they were made from."""
    monkeypatch.chdir(tmp_path)
    files = {name: Path(f"results/shop/{name}.parquet") for name in ("catalogue", "images")}
    files |= {name: Path(f"results/shop/{name}.safetensors") for name in ("encoder", "text", "image")}

    def step(items: list[str], **settings: str) -> FeatureFile:
        with provenance():
            write_table(files["catalogue"], pl.DataFrame({"item": items, "text": items}))
            fetched = {"item": items, "status": ["permanent"] * len(items), "sha256": [None] * len(items)}
            write_table(files["images"], pl.DataFrame(fetched, schema_overrides={"sha256": pl.String}))
        with provenance():
            features(settings=FeaturesConfig.model_validate(settings), cache=Path("results/cache"), **files)
        return FeatureFile.read(files["text"])

    pl.DataFrame({"item": ["a", "b"], "vector": [[1.0, 2.0], [3.0, 4.0]]}).write_parquet("own.parquet")
    first = step(["a"], text="own.parquet", image="own.parquet")
    shutil.copy(files["text"], "copy.safetensors")
    shutil.copy(files["encoder"], "pinned.safetensors")
    assert step(["a", "b"], text="copy.safetensors", image="own.parquet").x.tolist() == [*first.x.tolist(), [0, 0]]
    assert step(["b", "a", "c"], encoder="pinned.safetensors").x.tolist() == [[3, 4], [1, 2], [0, 0]]


def test_published_weights_are_named_and_checked(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    state = build_clip("small-clip", None, "fp32", torch.device("cpu")).model.state_dict()
    save_file(state, weights)
    write_shop(tmp_path, 4)
    before = encoded(tmp_path, {"model": "small-clip", "weights": str(weights), "batch_size": 8, "device": "cpu"})
    assert len(before["encoder"]) < 2_000
    pinned = pin(tmp_path)
    assert encoded(tmp_path, pinned) == before
    save_file(state | {"logit_scale": state["logit_scale"] + 1}, weights)
    with pytest.raises(
        DecorecError, match=r"pinned\.safetensors: expected the weights '.*' of small-clip with the digest"
    ):
        encoded(tmp_path, pinned)


def test_an_encoder_of_texts_refuses_pictures_and_other_files_are_no_encoders(tmp_path: Path) -> None:
    write_shop(tmp_path, 4)
    pictures = pl.read_parquet(tmp_path / "images.parquet")
    pictures.clear().write_parquet(tmp_path / "images.parquet")
    before = encoded(tmp_path, FIT)
    pinned = pin(tmp_path)
    assert encoded(tmp_path, pinned) == before
    pictures.write_parquet(tmp_path / "images.parquet")
    with pytest.raises(
        DecorecError, match=r"pinned\.safetensors: expected items without pictures, .* found a picture of 'i0'"
    ):
        encoded(tmp_path, pinned)
    shutil.copy(tmp_path / "features/text.safetensors", pinned["encoder"])
    with pytest.raises(DecorecError, match="expected an encoder that the step features has written"):
        encoded(tmp_path, pinned)


def test_values_of_the_key() -> None:
    for value in ("fits", "results/shop/encoder.safetensors"):
        with pytest.raises(ValueError, match="encoder"):
            FeaturesConfig(encoder=value)
    with pytest.raises(ValueError, match="ensemble is 3, expected networks that are fitted, found none; set encoder"):
        FeaturesConfig(encoder="clip", ensemble=3)
    assert FeaturesConfig(encoder="results/cache/mine.safetensors").pinned == Path("results/cache/mine.safetensors")
