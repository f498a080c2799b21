"""The files that a model reads: found by their stem, read where they are needed, named where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorec.artifacts.files import write_arrays
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import read_vocab
from decorec.errors import DecorecError
from decorec.models.inputs import ModelInputs
from decorec.models.item_data import ItemData
from tests.support import small

THREE = ["text", "image", "audio"]


def inputs(files: dict[str, Any]) -> ModelInputs:
    return ModelInputs.of(files["features"], files["interests"], files["cooccurrence"])


def test_files_belong_to_the_modality_of_their_stem(tmp_path: Path) -> None:
    features = [tmp_path / "a" / "text.safetensors", tmp_path / "b" / "audio.safetensors"]
    found = ModelInputs.of(features, [tmp_path / "image.safetensors"], None)
    assert found.features == {"text": features[0], "audio": features[1]}
    assert found.interests == {"image": tmp_path / "image.safetensors"}
    assert found.cooccurrence is None


@pytest.mark.parametrize("kind", ["features", "interests"])
def test_two_files_of_one_stem_are_refused(kind: str, tmp_path: Path) -> None:
    files = {"features": [], "interests": [], "cooccurrence": None}
    files[kind] = [tmp_path / "one" / "text.safetensors", tmp_path / "two" / "text.safetensors"]
    with pytest.raises(DecorecError, match=r"two/text\.safetensors: expected one file per modality, found .*one/text"):
        inputs(files)


@pytest.mark.parametrize("modalities", [["text"], ["text", "image"], THREE], ids=["one", "two", "three"])
def test_what_is_read_is_what_the_files_hold(modalities: list[str], tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(modalities=modalities)
    files = small.files(tmp_path, data, run)
    found = inputs(files).item_data(run, "stage2", read_vocab(files["vocab"])).tensors()
    expected = small.item_data(data, run)
    parts = [f"{kind}.{modality}" for kind in ("features", "interests") for modality in modalities]
    parts += ["graph.crow", "graph.col", "graph.values"]
    assert set(found) == {*parts, *(f"present.{modality}" for modality in modalities)}
    for name in parts:
        assert torch.equal(found[name], expected[name]), name


def test_centroids_are_in_the_files_of_the_interests(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(interest_input="centroid")
    files = small.files(tmp_path, data, run)
    found = inputs(files).item_data(run, "stage2", read_vocab(files["vocab"])).tensors()
    for name in ("centroids.text", "centroids.image", "interests.text", "interests.image"):
        assert torch.equal(found[name], small.item_data(data, run)[name]), name
    assert len(found["centroids.text"]) == 5
    names = read_vocab(files["vocab"])
    with pytest.raises(DecorecError, match=r"expected the file image\.safetensors at --interests, found none"):
        inputs(files | {"interests": files["interests"][:1]}).item_data(run, "stage2", names)


def test_a_stage_reads_no_file_that_it_does_not_need(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run()
    files = small.files(tmp_path, data, run)
    for path in files["interests"]:
        path.unlink()
    names = read_vocab(files["vocab"])
    assert not [name for name in inputs(files).item_data(run, "stage1", names).tensors() if "interests" in name]
    assert not ModelInputs().item_data(small.run(name="sasrec"), "fit", names).tensors()
    without = inputs(files | {"interests": [], "cooccurrence": None})
    plain = small.run(modal_layers=0)
    assert set(without.item_data(plain, "stage1", names).tensors()) == {
        *(f"{kind}.{name}" for kind in ("features", "present") for name in ("text", "image"))
    }


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("features", "the file audio.safetensors"),
        ("interests", "the file audio.safetensors"),
        ("cooccurrence", "the co-occurrence matrix"),
    ],
)
def test_a_missing_file_is_named_with_its_flag(flag: str, named: str, tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(modalities=THREE)
    files = small.files(tmp_path, data, run)
    left = None if flag == "cooccurrence" else [path for path in files[flag] if path.stem != "audio"]
    with pytest.raises(DecorecError, match=f"stage2 of decorec: expected {named}.* --{flag}, found none"):
        inputs(files | {flag: left}).item_data(run, "stage2", read_vocab(files["vocab"]))


def test_features_are_read_in_the_order_of_the_items_and_absent_ones_are_zero(tmp_path: Path) -> None:
    run = small.run(modalities=["text"], modal_layers=0)
    x = np.arange(6, dtype=np.float32).reshape(3, 2) + 1
    FeatureFile(x, np.array([True, False, True]), ["a", "b", "c"]).write(tmp_path / "text.safetensors")
    found = ModelInputs({"text": tmp_path / "text.safetensors"}).item_data(run, "stage1", ["c", "b", "a"])
    assert found["features.text"].tolist() == [[5.0, 6.0], [0.0, 0.0], [1.0, 2.0]]
    assert found["present.text"].tolist() == [True, False, True]


@pytest.mark.parametrize("kind", ["interests", "cooccurrence"])
def test_files_of_other_items_are_refused(kind: str, tmp_path: Path) -> None:
    data, run = small.sequences(), small.run()
    files = small.files(tmp_path, data, run)
    names = read_vocab(files["vocab"])
    if kind == "interests":
        write_arrays(files["interests"][0], {"assignment": np.zeros(39, dtype=np.int64)})
    else:
        (tmp_path / "more").mkdir()
        files["cooccurrence"] = small.files(tmp_path / "more", small.sequences(items=39), run, 39)["cooccurrence"]
    with pytest.raises(DecorecError, match="expected rows for 40 items, found 39"):
        inputs(files).item_data(run, "stage2", names)


@pytest.mark.parametrize("tensors", [{}, {"present.text": torch.ones(3, dtype=torch.bool)}])
def test_item_data_know_where_they_are_without_any_tensor_too(tensors: dict[str, torch.Tensor]) -> None:
    found = ItemData(3, tensors)
    assert found.device.type == "cpu" and found.tensors().keys() == tensors.keys()
    assert found.to("meta").device.type == "meta", "batches go where the model is"
