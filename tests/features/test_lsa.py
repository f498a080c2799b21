"""Text features by latent semantic analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_arrays
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.features.lsa import Lsa
from decorec.features.step import features
from tests.support.small_shop import step_files, write_shop, write_tables

TEXTS = ["blue cotton shirt", "blue shirt of cotton", "garden hose", "long garden hose", "red cotton shirt", "zzz qqq"]


def test_texts_of_the_same_words_are_near() -> None:
    analysis = Lsa.fit(TEXTS, 3, 0)
    x, facts = analysis.encode(TEXTS), analysis.facts
    assert x.dtype == np.float32 and x.shape == (6, 3)
    lengths = np.linalg.norm(x, axis=1)
    assert (lengths[:5] > 0.5).all() and lengths[5] == 0, "no other text has a word of the last"
    x[:5] /= lengths[:5, None]
    cosine = x @ x.T
    assert cosine[0, 1] > 0.8 and cosine[2, 3] > 0.8 and abs(cosine[0, 2]) < 0.1
    assert facts == {"words": "7", "explained": facts["explained"]} and 0.5 < float(facts["explained"]) <= 1
    assert np.array_equal(analysis.encode(TEXTS), Lsa.fit(TEXTS, 3, 0).encode(TEXTS))


def test_the_definition_once_more() -> None:
    """TF-IDF with 1 + ln tf and ln((1 + n) / (1 + df)) + 1, rows of length 1, and their left singular vectors."""
    texts = ["a1 a1 b1", "a1 b1 c1", "c1 b1", "c1 a1"]
    counts = {"a1": [2, 1, 0, 1], "b1": [1, 1, 1, 0], "c1": [0, 1, 1, 1], "a1 b1": [1, 1, 0, 0]}
    tf = np.array(list(counts.values()), dtype=float).T
    weight = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) * (np.log(5 / (1 + (tf > 0).sum(axis=0))) + 1)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(weight)
    wanted = left[:, :2] * values[:2]
    analysis = Lsa.fit(texts, 2, 0)
    x = analysis.encode(texts)
    assert analysis.facts["words"] == "4"
    assert x @ x.T == pytest.approx(wanted @ wanted.T, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("texts", "width"), [(["one two", "one two three"], 1), (["one"], 1), (["a", "?"], 1), ([], 1)]
)
def test_few_texts_give_narrow_rows(texts: list[str], width: int) -> None:
    x = Lsa.fit(texts, 256, 0).encode(texts)
    assert x.shape == (len(texts), width) and np.isfinite(x).all()


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_texts_alone_need_no_encoder(storage: Literal["float32", "float16"], tmp_path: Path) -> None:
    write_tables(tmp_path, [*TEXTS, None], [(0, "permanent", None)])
    files = step_files(tmp_path)
    features(settings=FeaturesConfig(encoder="fit", text="lsa", text_width=3, storage=storage), **files)
    text, image = FeatureFile.read(files["text"]), FeatureFile.read(files["image"])
    assert text.present.tolist() == [True] * 6 + [False] and not image.present.any()
    wanted = Lsa.fit(TEXTS, 3, 0).encode(TEXTS)
    wanted[:5] *= 10 / np.linalg.norm(wanted[:5], axis=1, keepdims=True)
    assert text.x[:6] == pytest.approx(wanted, rel=1e-6 if storage == "float32" else 1e-3, abs=1e-3)
    assert read_arrays(files["text"])[0]["x"].dtype == storage
    assert (text.metadata["encoder"], image.metadata["encoder"]) == ("lsa", "none")


def test_pictures_are_encoded_as_without(tmp_path: Path) -> None:
    write_shop(tmp_path, 32)
    given = {"encoder": "fit", "epochs": 1, "batch_size": 8, "device": "cpu"}
    found = []
    for name, text in (("one", "encoder"), ("other", "lsa")):
        files = step_files(tmp_path)
        files |= {"text": tmp_path / name / "text.safetensors", "image": tmp_path / name / "image.safetensors"}
        features(settings=FeaturesConfig.model_validate(given | {"text": text}), **files)
        found.append({modality: FeatureFile.read(files[modality]) for modality in ("text", "image")})
    assert np.array_equal(found[0]["image"].x, found[1]["image"].x)
    distinct = pl.read_parquet(tmp_path / "items.parquet")["text"].unique(maintain_order=True).to_list()
    wanted = Lsa.fit(distinct, 256, 0).encode(distinct)
    wanted *= 10 / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert found[1]["text"].x == pytest.approx(wanted, rel=1e-5, abs=1e-5)
