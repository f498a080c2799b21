"""Where weights come from: tags, local files, folders; and what is said when they cannot be had."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from decorec.config.features import FeaturesConfig
from decorec.errors import DecorecError
from decorec.features.clip import SMALL_CLIP, build_clip, load_clip
from decorec.features.step import features
from decorec.features.weights import locate
from tests.support.small_shop import step_files, write_shop

CPU = torch.device("cpu")


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = build_clip("small-clip", None, "fp32", CPU).model
    return model


def test_weights_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    write_shop(tmp_path, 2)
    config = FeaturesConfig(model="ViT-B-32-quickgelu", weights="openai", device="cpu")
    with pytest.raises(DecorecError) as caught:
        features(settings=config, **step_files(tmp_path))
    message = str(caught.value)
    assert "/ViT-B-32.pt on a machine with network access, put it at weights/ViT-B-32.pt" in message
    assert "weights: weights/ViT-B-32.pt" in message and "model: ViT-B-32-quickgelu" in message
    assert "Failed to download" in message, "the reason is part of the message"
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("model", "weights", "expected"),
    [
        ("ViT-B-33", "openai", r"found 'ViT-B-33'; similar names: .*ViT-B-32"),
        ("ViT-B-32", "opnai", r"found 'opnai', which is neither; tags: openai, "),
        ("ViT-B-32", "weights/missing.pt", r"found 'weights/missing.pt', which is neither"),
        ("local-dir:nowhere", "", r"found no folder nowhere"),
    ],
)
def test_names_that_do_not_exist(model: str, weights: str, expected: str) -> None:
    with pytest.raises(DecorecError, match=expected):
        load_clip(model, weights, "fp32", CPU)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04\x95"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_local_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        DecorecError, match=f"expected weights of small-clip in .*weights{suffix}, found a file that does not fit"
    ):
        load_clip("small-clip", str(path), "fp32", CPU)


def test_file_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"visual.proj": torch.zeros(4, 4)}, path)
    with pytest.raises(DecorecError, match=r"does not fit .*set features\.model to the model"):
        load_clip("small-clip", str(path), "fp32", CPU)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    torch.save({"state_dict": Hostile(tmp_path / "ran")}, path)
    with pytest.raises(DecorecError, match="does not fit"):
        load_clip("small-clip", str(path), "fp32", CPU)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_only_looks_like_torchscript_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    torch.save({"state_dict": Hostile(tmp_path / "ran")}, path)
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/sub/constants.pkl", b"")
    with pytest.raises(DecorecError, match="does not fit"):
        load_clip("small-clip", str(path), "fp32", CPU)
    assert not (tmp_path / "ran").exists()


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "training checkpoint", "TorchScript"])
@pytest.mark.filterwarnings("ignore")
def test_kinds_of_local_files(tmp_path: Path, kind: str) -> None:
    model = _model()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(model.state_dict(), path)
    elif kind == "state dict":
        torch.save(model.state_dict(), path)
    elif kind == "training checkpoint":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    else:  # what OpenAI publishes: a traced model whose mask is a constant
        model.attn_mask = model._buffers.pop("attn_mask")
        torch.jit.save(torch.jit.trace(model, (torch.zeros(1, 3, 64, 64), torch.zeros(1, 48, dtype=torch.long))), path)
    encoder = load_clip("small-clip", str(path), "fp32", CPU)
    for name, value in model.state_dict().items():
        assert torch.equal(value, encoder.model.state_dict()[name]), name


def test_folder_with_configuration_and_weights(tmp_path: Path) -> None:
    configuration = {"model_cfg": json.loads(SMALL_CLIP.read_text()), "preprocess_cfg": {"mean": [0.5, 0.4, 0.3]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(configuration))
    with pytest.raises(DecorecError, match="expected weights of local-dir"):
        load_clip(f"local-dir:{tmp_path}", "", "fp32", CPU)
    model = _model()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    encoder = load_clip(f"local-dir:{tmp_path}", "", "fp32", CPU)
    assert torch.equal(encoder.model.text_projection, model.text_projection)
    assert json.loads(encoder.metadata["preprocessing"])["mean"] == [0.5, 0.4, 0.3]
    assert len(encoder.metadata["weights_sha256"]) == 64


def test_local_file_of_a_model_with_its_own_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "anything.safetensors"
    path.write_bytes(b"")
    settings = locate("ViT-B-16-SigLIP", str(path)).settings
    assert settings["image_mean"] == (0.5, 0.5, 0.5) and settings["image_resize_mode"] == "squash"


@pytest.mark.parametrize(
    ("model", "weights", "quick_gelu"),
    [("ViT-B-32", "openai", True), ("ViT-B-32", "laion2b_s34b_b79k", False), ("ViT-B-16", "dfn2b", True)],
)
def test_activation_follows_the_weights(model: str, weights: str, quick_gelu: bool) -> None:
    assert locate(model, weights).settings["force_quick_gelu"] is quick_gelu


def test_activation_of_a_local_file_follows_its_name(tmp_path: Path) -> None:
    known, unknown = tmp_path / "ViT-B-32.pt", tmp_path / "mine.pt"
    for path in (known, unknown):
        torch.save({}, path)
    assert locate("ViT-B-32", str(known)).settings["force_quick_gelu"] is True
    # Tags of ViT-B-32 differ in the activation: the model's own holds, the preprocessing is common to all.
    assert "force_quick_gelu" not in locate("ViT-B-32", str(unknown)).settings
    assert locate("ViT-B-32-quickgelu", str(unknown)).settings["force_quick_gelu"] is True
    assert "image_mean" in locate("ViT-B-32", str(unknown)).settings


def test_every_published_model_resolves() -> None:
    for model, tag in open_clip.list_pretrained():
        assert locate(model, tag).explain(RuntimeError("no network"))


def test_small_clip_has_a_few_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in _model().parameters()) < 5_000_000
