"""Vectors have the length that models start for, or the step says that they have not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.step import features
from tests.support.small_shop import step_files, write_shop

FIT = {"encoder": "fit", "epochs": 1, "batch_size": 16, "device": "cpu"}


def lengths(folder: Path, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    """The lengths of present rows of a shop of 40 items, by modality."""
    if not (folder / "items.parquet").is_file():
        write_shop(folder, 40)
    files = step_files(folder)
    features(settings=FeaturesConfig.model_validate(settings), **files)
    read = {name: FeatureFile.read(files[name]) for name in ("text", "image")}
    return {name: np.linalg.norm(file.x[file.present], axis=1) for name, file in read.items()}


@pytest.mark.parametrize(
    ("settings", "text", "image"),
    [({}, 10, 10), ({"text": "encoder"}, 10, 10), ({"length": 2.5}, 2.5, 2.5)],
    ids=["words", "network", "chosen"],
)
def test_encoders_that_are_made_here_give_one_length(
    tmp_path: Path, settings: dict[str, Any], text: float, image: float, caplog: pytest.LogCaptureFixture
) -> None:
    found = lengths(tmp_path, FIT | settings)
    assert found["text"] == pytest.approx(text, rel=1e-5) and found["image"] == pytest.approx(image, rel=1e-5)
    assert caplog.text.count("expected vectors of a length of about 10") == (2 if "length" in settings else 0)
    kept = lengths(tmp_path, {"encoder": str(tmp_path / "encoder.safetensors"), "length": 7.0})
    assert kept["image"] == pytest.approx(image, rel=1e-5), "the length is the pinned encoder's"


def test_vectors_of_ones_own_stay_as_they_come_and_are_scaled_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.random.default_rng(0).normal(size=(40, 16))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pl.DataFrame({"item": [f"i{row}" for row in range(40)], "vector": x}).write_parquet(tmp_path / "own.parquet")
    own = FIT | {"text": str(tmp_path / "own.parquet")}
    found = lengths(tmp_path, own)
    assert found["text"] == pytest.approx(1, rel=1e-6) and found["image"] == pytest.approx(10, rel=1e-5)
    assert "text.safetensors: expected vectors of a length of about 10" in caplog.text
    assert "found 1 (median of 40); models that read them may learn little" in caplog.text
    assert "image.safetensors: expected" not in caplog.text
    caplog.clear()
    found = lengths(tmp_path, own | {"length": 10.0})
    assert found["text"] == pytest.approx(10, rel=1e-6) and "expected vectors" not in caplog.text


def test_an_encoder_without_lengths_is_refused(tmp_path: Path) -> None:
    lengths(tmp_path, FIT)
    arrays, metadata = read_arrays(tmp_path / "encoder.safetensors")
    del metadata["lengths"]
    write_arrays(tmp_path / "old.safetensors", arrays, metadata)
    with pytest.raises(DecorecError, match=r"old\.safetensors: expected an encoder that the step features has written"):
        lengths(tmp_path, {"encoder": str(tmp_path / "old.safetensors")})
