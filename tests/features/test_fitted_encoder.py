"""The encoder that is trained on the catalogue itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from decorec.artifacts import resume
from decorec.artifacts.files import read_arrays
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features import fitted_encoder
from decorec.features.encoder_inputs import Distinct
from decorec.features.step import features
from tests.support.small_shop import step_files, write_shop
from tests.support.stopped import when_logged

CONFIG = FeaturesConfig(encoder="fit", text="encoder", epochs=12, batch_size=32, device="cpu")
ITEMS = 160


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of drawings in eight colours, encoded."""
    folder = tmp_path_factory.mktemp("fitted")
    write_shop(folder, ITEMS)
    features(settings=CONFIG, **step_files(folder), threads=1)
    return folder


def _same_colour_among_nearest(queries: npt.NDArray[np.float32], pictures: npt.NDArray[np.float32]) -> float:
    """Share of the ten pictures nearest to each query that have the colour of the query's item; guessing: 1/8."""
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    pictures = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    nearest = np.argsort(-queries @ pictures.T, axis=1)[:, :10]
    colour = np.arange(ITEMS) % 8
    return float((colour[nearest] == colour[:, None]).mean())


def test_texts_and_pictures_of_a_colour_lie_together(fitted: Path) -> None:
    text, image = (FeatureFile.read(step_files(fitted)[name]).x for name in ("text", "image"))
    assert _same_colour_among_nearest(text, image) > 0.6
    assert _same_colour_among_nearest(image, image) > 0.6


def test_metadata_tell_the_quality_on_held_out_pairs(fitted: Path) -> None:
    for name in ("text", "image"):
        metadata = FeatureFile.read(step_files(fitted)[name]).metadata
        assert metadata["encoder"] == "fit" and metadata["weights"].startswith("fit:")
        assert metadata["retrieval_pairs"] == "16" and metadata["training_pairs"] == "144"
        assert float(metadata["retrieval_chance"]) == 10 / 16
        assert float(metadata["retrieval_recall_at_10"]) > 0.8


def test_recall_counts_texts_whose_own_picture_is_among_the_nearest() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.5, 0.5, 0.5]])
    assert fitted_encoder.retrieval_recall(scores, 1) == pytest.approx((1 + 0 + 1 / 3) / 3), "a tie: over its orders"
    assert fitted_encoder.retrieval_recall(scores, 2) == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert fitted_encoder.retrieval_recall(scores, 3) == 1


def test_a_trained_encoder_is_not_trained_again(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = step_files(fitted)
    before = files["text"].read_bytes(), files["image"].read_bytes()
    for path in (files["text"], files["image"]):
        path.unlink()
    monkeypatch.setattr(fitted_encoder, "_descend", lambda *_: pytest.fail("trained again"))
    features(settings=CONFIG, **files, threads=1)
    assert (files["text"].read_bytes(), files["image"].read_bytes()) == before


def test_pictures_that_are_stored_at_another_size_train_another_encoder(tmp_path: Path) -> None:
    write_shop(tmp_path, 40)
    config = CONFIG.model_copy(update={"epochs": 1})
    files, encoders = step_files(tmp_path), tmp_path / "cache" / "encoders"
    features(settings=config, **files, threads=1)
    (first,) = encoders.iterdir()
    for path in (tmp_path / "cache" / "images").rglob("*.jpg"):
        with Image.open(path) as stored:
            smaller = stored.resize((64, 64))
        smaller.save(path)
    features(settings=config, **files, threads=1)
    assert len(list(encoders.iterdir())) == 2 and first.is_file()


def test_same_bytes_from_scratch_whatever_the_threads(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1})
    contents = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        write_shop(folder, 96)
        files = step_files(folder)
        features(settings=config, **files, threads=threads)
        (encoder,) = (folder / "cache" / "encoders").iterdir()
        contents.append((encoder.name, *(path.read_bytes() for path in (encoder, files["text"], files["image"]))))
    assert contents[0] == contents[1]
    features(settings=config.model_copy(update={"seed": 1}), **files)
    assert files["text"].read_bytes() != contents[0][2]


def run_step(folder: Path, config: FeaturesConfig, text: str, number: signal.Signals) -> None:
    """The step in a process that sends a signal to itself."""
    resume.SECONDS, resume.SHARE = 0.0, float("inf")
    with when_logged(text, lambda: os.kill(os.getpid(), number)):
        features(settings=config, **step_files(folder), threads=1)


def test_a_killed_training_of_the_encoder_is_continued_by_another_process(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 3})
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        write_shop(tmp_path / name, ITEMS)
    features(settings=config, **step_files(tmp_path / "undisturbed"), threads=1)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    codes, kept = [], []
    for text, number in ((" epoch 0,", signal.SIGKILL), (" epoch 1,", signal.SIGTERM), ("never", signal.SIGKILL)):
        process = context.Process(target=run_step, args=(tmp_path / "killed", config, text, number))
        process.start()
        process.join()
        codes.append(process.exitcode)
        states = [read_arrays(path)[1] for path in (tmp_path / "killed/cache/training/encoders").iterdir()]
        kept += [(facts["epoch"], facts["batch"]) for facts in (json.loads(state["facts"]) for state in states)]
    assert codes == [-signal.SIGKILL, 143, 0]
    assert kept == [(0, 1), (2, 0)], "it was continued, and nothing is left of it"
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}
        for folder in (tmp_path / "undisturbed", tmp_path / "killed")
    ]
    assert len(contents[0]) > 3 and contents[0] == contents[1]


def test_too_few_pairs(tmp_path: Path) -> None:
    write_shop(tmp_path, 31)
    with pytest.raises(DecorecError, match="at least 32 distinct pairs of picture and text, found 31"):
        features(settings=CONFIG, **step_files(tmp_path))


def test_batches_cover_an_epoch_and_augmentation_keeps_the_ends() -> None:
    tokens = torch.zeros(5, 12, dtype=torch.long)
    for row, length in enumerate((2, 3, 6, 9, 12)):
        tokens[row, :length] = torch.arange(1, length + 1)
        tokens[row, 0], tokens[row, length - 1] = 100, 999
    pictures = torch.arange(5 * 8 * 8 * 3, dtype=torch.uint8).reshape(5, 8, 8, 3)
    pairs = fitted_encoder.Pairs(pictures, tokens)
    for seed in range(20):
        changed, shorter = fitted_encoder._augment(pairs, np.random.default_rng(seed))
        assert changed.shape == pictures.shape and changed.dtype == torch.uint8
        for row, original in zip(shorter.tolist(), tokens.tolist(), strict=True):
            kept = [token for token in row if token]
            assert kept[0] == 100 and kept[-1] == 999 and row[len(kept) :] == [0] * (12 - len(kept))
            assert [token for token in original if token in kept] == kept, "words keep their order"


def test_distinct_values_keep_the_order_of_first_appearance() -> None:
    distinct = Distinct.of(["b", None, "a", "b"])
    assert distinct.values == ["b", "a"] and distinct.rows.tolist() == [0, -1, 1, 0]
    x = distinct.spread(np.array([[1.0], [2.0]], dtype=np.float32))
    assert x.tolist() == [[1.0], [0.0], [2.0], [1.0]]
