"""Features that stay in their file: the same loss, the same ranks, and a checkpoint that refers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorec.artifacts.files import read_arrays
from decorec.data.batches import training_windows
from decorec.data.item_features import FeatureFile, Storage
from decorec.data.sequences import read_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_users
from decorec.models import checkpoint, inputs, sampled
from decorec.models.inputs import ModelInputs
from decorec.models.registry import build
from decorec.nn.sampled_softmax import Sampler
from tests.support import small

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("fit", {"name": "sasrec-features"}),
    ("fit", {"name": "hm4sr"}),
    ("stage1", {}),
    ("stage2", {"modal_layers": 0}),
]


class Shop:
    """A data set whose features are in another order than its vocabulary and lack some items."""

    def __init__(self, folder: Path, options: dict[str, Any], storage: Storage = "float32") -> None:
        run = small.run(**options)
        train = run.train.model_copy(update={"negatives": 5})
        self.data, self.run = small.sequences(), run.model_copy(update={"train": train})
        self.files = small.files(folder / "results" / "shop", self.data, self.run)
        self.items = read_vocab(self.files["vocab"])
        for path in self.files["features"]:
            file = FeatureFile.read(path)
            present = np.arange(40) % 7 > 0
            file.x[~present] = 0
            FeatureFile(file.x[::-1].copy(), present[::-1].copy(), self.items[::-1]).write(path, storage)

    def model(self, stage: str, mapped: bool, monkeypatch: pytest.MonkeyPatch) -> sampled.SampledRecommender:
        monkeypatch.setattr(inputs, "FEATURES", 0 if mapped else 1 << 28)
        given = ModelInputs.of(self.files["features"], self.files["interests"], self.files["cooccurrence"])
        item_data = given.item_data(self.run, stage, self.items)
        assert bool(item_data.mapped) == mapped
        torch.manual_seed(0)
        model = build(self.run, item_data, stage)
        assert isinstance(model, sampled.SampledRecommender)
        model.observe(self.data.training())
        return model


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize(("stage", "options"), MODELS)
def test_a_step_and_a_ranking_are_those_of_features_in_memory(
    stage: str, options: dict[str, Any], storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path, options, storage)
    found = []
    for mapped in (False, True):
        model = shop.model(stage, mapped, monkeypatch)
        monkeypatch.setattr(sampled, "REPRESENTED", 39 if mapped else 40)
        model.sampler = Sampler(shop.data.training().items, 40, 5, 0)
        torch.manual_seed(0)
        loss = model.train().loss(training_windows(shop.data, model.config.length).batch(np.arange(8)))
        loss.backward()
        gradients = [p.grad.to_dense() for p in model.parameters() if p.grad is not None]
        found.append(([loss.detach(), *gradients], rank_users(model, shop.data, "test")))
    (expected, ranks), (own, other) = found
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-7)
    assert ranks == other


def test_float16_changes_the_loss_by_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for storage in ("float32", "float16"):
        shop = Shop(tmp_path / storage, {}, storage)
        model = shop.model("stage1", True, monkeypatch).eval()
        with torch.no_grad():
            losses.append(float(model.loss(training_windows(shop.data, model.config.length).batch(np.arange(8)))))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_checkpoint_refers_to_the_features_by_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, {})
    model = shop.model("stage1", True, monkeypatch)
    files = [tmp_path / "results" / "shop" / name for name in ("model.safetensors", "config.json")]
    small.save(model, shop.run, 0, shop.items, *files)
    arrays, metadata = read_arrays(files[0])
    assert "item_data.features.text" not in arrays
    assert arrays["item_data.features.text.rows"].tolist() == [*range(39, -1, -1)]
    assert metadata["features.text"].endswith(" results/shop/features/text.safetensors")
    loaded = checkpoint.load(*files)
    assert set(loaded.model.item_data.mapped) == {"features.text", "features.image"}
    assert rank_users(loaded.model, shop.data, "test") == rank_users(model, shop.data, "test")
    text = shop.files["features"][0]
    file = FeatureFile.read(text)
    file.x[0] += 1
    file.write(text)
    with pytest.raises(DecorecError, match=r"text\.safetensors: expected the features\.text that .* was trained with"):
        checkpoint.load(*files)
    text.unlink()
    with pytest.raises(DecorecError, match=r"text\.safetensors: expected a safetensors file, found no such file"):
        checkpoint.load(*files)


def test_a_slice_of_items_is_read_without_a_copy_where_features_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path, {})
    held, mapped = (shop.model("stage1", each, monkeypatch).item_data for each in (False, True))
    whole = held["features.text"]
    view = held.rows("features.text", slice(10, 25))
    assert view.data_ptr() == whole[10].data_ptr()
    for found in (view, mapped.rows("features.text", slice(10, 25))):
        assert torch.equal(found, held.rows("features.text", torch.arange(10, 25)))
