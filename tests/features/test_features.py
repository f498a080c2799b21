"""The features step: rows, masks, duplicates, metadata, and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.clip import build_clip, load_clip
from decorec.features.item_encoder import ItemEncoder
from decorec.features.step import features
from tests.support.small_shop import drawing, step_files, store, write_shop, write_tables

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of small-clip in a file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    torch.manual_seed(0)
    save_file(build_clip("small-clip", None, "fp32", CPU).model.state_dict(), path)
    return path


def _config(weights: Path, **values: object) -> FeaturesConfig:
    return FeaturesConfig.model_validate(
        {"model": "small-clip", "weights": str(weights), "batch_size": 8, "device": "cpu", **values}
    )


def test_absent_pictures_and_texts_are_marked_and_zero(tmp_path: Path, weights: Path) -> None:
    random = np.random.default_rng(0)
    first, second = (store(tmp_path / "cache", drawing(number, random)[0]) for number in (0, 1))
    texts = ["red circle", "", None, "  ", "green circle"]
    rows = [(0, "permanent", None), (0, "ok", first), (0, "ok", second), (1, "transient", None), (3, "ok", second)]
    write_tables(tmp_path, texts, rows)
    files = step_files(tmp_path)
    features(settings=_config(weights), **files)
    text, image = FeatureFile.read(files["text"]), FeatureFile.read(files["image"])
    assert text.items == image.items == [f"i{number}" for number in range(5)]
    assert text.present.tolist() == [True, False, False, False, True]
    assert image.present.tolist() == [True, False, False, True, False]
    for file in (text, image):
        assert file.x.shape == (5, 128)
        assert (file.x[~file.present] == 0).all() and (np.abs(file.x[file.present]).sum(axis=1) > 0).all()
    encoder = load_clip("small-clip", str(weights), "fp32", CPU)
    batch = encoder.encode("text", encoder.tokenizer(["red circle", *["green circle"] * 7]))
    assert np.array_equal(text.x[[0, 4]], batch[:2]), "a batch is filled up"
    assert not np.allclose(np.linalg.norm(image.x[image.present], axis=1), 1)
    assert not np.array_equal(image.x[0], image.x[3]), "the first fetched picture of an item is its picture"


def test_no_item_has_a_picture(tmp_path: Path, weights: Path) -> None:
    write_tables(tmp_path, ["red circle"], [])
    files = step_files(tmp_path)
    features(settings=_config(weights), **files)
    image = FeatureFile.read(files["image"])
    assert image.x.shape == (1, 128) and not image.x.any() and not image.present.any()


def test_duplicates_are_encoded_once(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decorec.features import decode

    decoded: list[Path] = []
    original = decode.decode
    monkeypatch.setattr(decode, "decode", lambda path, geometry: decoded.append(path) or original(path, geometry))
    sha256 = store(tmp_path / "cache", drawing(0, np.random.default_rng(0))[0])
    write_tables(tmp_path, ["same text"] * 6, [(item, "ok", sha256) for item in range(6)])
    files = step_files(tmp_path)
    with caplog.at_level("INFO", "decorec"):
        features(settings=_config(weights), **files)
    assert "6 with text (1 distinct), 6 with a picture (1 distinct)" in caplog.text
    assert len(decoded) == 1
    for name in ("text", "image"):
        x = FeatureFile.read(files[name]).x
        assert (x == x[0]).all() and x.any()


def test_metadata_say_how_the_features_were_made(tmp_path: Path, weights: Path) -> None:
    write_shop(tmp_path, 4)
    table = pl.read_parquet(tmp_path / "items.parquet")
    long = table.with_columns(text=pl.when(pl.col("item") == "i0").then(pl.lit("word " * 60)).otherwise(pl.col("text")))
    long.write_parquet(tmp_path / "items.parquet")
    files = step_files(tmp_path)
    features(settings=_config(weights), **files)
    metadata = FeatureFile.read(files["text"]).metadata
    assert metadata["encoder"] == "clip" and metadata["model"] == "small-clip"
    assert metadata["weights"] == str(weights) and len(metadata["weights_sha256"]) == 64
    assert metadata["precision"] == "fp32" and metadata["truncated_texts"] == "0.2500"
    preprocessing = json.loads(metadata["preprocessing"])
    assert preprocessing["size"] == 64 and preprocessing["interpolation"] == "bicubic"
    assert {"mean", "std", "resize_mode"} <= set(preprocessing)
    assert metadata["torch"] == torch.__version__ and metadata["open_clip"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_close_and_stored_as_float32(
    tmp_path: Path, weights: Path, precision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_shop(tmp_path, 12)
    files = step_files(tmp_path)
    monkeypatch.setattr("decorec.processor.CPUINFO", tmp_path / "none")
    features(settings=_config(weights), **files)
    exact = FeatureFile.read(files["image"]).x
    assert "has no instructions for" not in caplog.text
    features(settings=_config(weights, precision=precision), **files)
    said = f"features.precision is {precision}, which this processor has no instructions for"
    assert caplog.text.count(said) == 1, "once for both modalities"
    shutil.copy(files["encoder"], tmp_path / "pinned.safetensors")
    ItemEncoder.read(tmp_path / "pinned.safetensors", "cpu")
    assert caplog.text.count(said) == 2, "also where the encoder is pinned"
    close = FeatureFile.read(files["image"]).x
    assert close.dtype == np.float32 and not np.array_equal(close, exact)
    cosine = (close * exact).sum(1) / np.linalg.norm(close, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.999


def test_missing_picture_is_named(tmp_path: Path, weights: Path) -> None:
    write_shop(tmp_path, 4)
    victim = sorted((tmp_path / "cache" / "images").rglob("*.jpg"))[2]
    victim.write_bytes(victim.read_bytes()[:300])
    files = step_files(tmp_path)
    with pytest.raises(DecorecError, match=f"(?s){victim.name}.*run the crawl step again"):
        features(settings=_config(weights), **files)
    victim.unlink()
    with pytest.raises(DecorecError, match=victim.name):
        features(settings=_config(weights), **files)
    assert not files["text"].exists() and not files["image"].exists()


def test_pictures_of_other_items_are_refused(tmp_path: Path, weights: Path) -> None:
    write_shop(tmp_path, 4)
    pl.read_parquet(tmp_path / "items.parquet").head(3).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DecorecError, match="found 1 other items \\(first: 'i3'\\)"):
        features(settings=_config(weights), **step_files(tmp_path))


def test_cuda_that_is_not_there(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_shop(tmp_path, 4)
    with pytest.raises(DecorecError, match="expected a CUDA device"):
        features(settings=_config(weights, device="cuda"), **step_files(tmp_path))
