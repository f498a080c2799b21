"""Our decoding, preprocessing and encoding against open_clip's own, and one device and precision against another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from benchmarks.parity import cosine, encoded, reference, varied_pictures, varied_texts
from decorec.errors import DecorecError
from decorec.features.clip import Clip, build_clip
from decorec.features.decode import Pictures, Texts, batches, decode
from decorec.features.weights import Weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _encoder(model: str, device: torch.device = CPU, precision: str = "fp32") -> Clip:
    torch.manual_seed(0)
    encoder = build_clip(model, None, precision, device)  # type: ignore[arg-type]
    return encoder


@pytest.mark.parametrize(("model", "count"), [("small-clip", 200), ("ViT-B-32-quickgelu", 8)])
def test_parity_with_open_clip(tmp_path: Path, model: str, count: int) -> None:
    paths, texts = varied_pictures(tmp_path, count), varied_texts(count)
    encoder = _encoder(model)
    pictures, words = reference(encoder, paths, texts)
    assert cosine(encoded(encoder, "image", paths), pictures).min() > 0.9999
    assert cosine(encoded(encoder, "text", texts), words).min() > 0.9999


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_every_resize_mode_gives_the_pixels_of_open_clip(tmp_path: Path, mode: str) -> None:
    paths = varied_pictures(tmp_path, 16)
    settings = {"image_resize_mode": mode, "image_mean": (0.5, 0.4, 0.3), "image_interpolation": "bilinear"}
    encoder = build_clip("small-clip", Weights("small-clip", _saved(tmp_path), settings=settings), "fp32", CPU)
    _, _, preprocess = open_clip.create_model_and_transforms("small-clip", **settings)
    (batch,) = batches(Pictures(paths, encoder.pixels.geometry), [(0, 16)], 1, CPU)
    expected = torch.stack([preprocess(Image.open(path)) for path in paths])
    torch.testing.assert_close(encoder.pixels.normalised(batch.inputs), expected, rtol=0, atol=1e-6)


def _saved(folder: Path) -> str:
    path = folder / "weights.pt"
    torch.save(_encoder("small-clip").model.state_dict(), path)
    return str(path)


def test_activation_of_the_weights_reaches_the_model(tmp_path: Path) -> None:
    for quick in (True, False):
        source = Weights("small-clip", _saved(tmp_path), settings={"force_quick_gelu": quick})
        names = {type(module).__name__ for module in build_clip("small-clip", source, "fp32", CPU).model.modules()}
        assert ("QuickGELU" in names) is quick


def test_decoding_at_a_fraction_stays_close(tmp_path: Path) -> None:
    encoder = _encoder("small-clip")
    (small,) = varied_pictures(tmp_path, 1)
    large = tmp_path / "large.jpg"
    Image.open(small).resize((2048, 2048), Image.Resampling.BICUBIC).save(large, quality=95)
    with Image.open(large) as picture:
        expected = np.asarray(encoder.pixels.geometry(picture))
    found = decode(large, encoder.pixels.geometry)
    assert found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - expected).mean() < 1


@pytest.mark.filterwarnings("ignore:.pin_memory. argument is set")
def test_worker_processes_prepare_the_same_batches_and_report_problems(tmp_path: Path) -> None:
    """The path that feeds a GPU; without one, torch only leaves out the pinning."""
    paths, texts = varied_pictures(tmp_path, 20), varied_texts(20)
    encoder = _encoder("small-clip")
    ranges = [(0, 8), (8, 16), (16, 20)]
    for source in (Pictures(paths, encoder.pixels.geometry), Texts(texts, encoder.tokenizer)):
        here = list(batches(source, ranges, 2, CPU))
        there = list(batches(source, ranges, 2, torch.device("cuda")))
        assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(here, there, strict=True))
        assert [one.truncated.tolist() for one in here] == [other.truncated.tolist() for other in there]
    paths[9].unlink()
    with pytest.raises(DecorecError, match=f"{paths[9].name}: expected a stored picture"):
        list(batches(Pictures(paths, encoder.pixels.geometry), ranges, 2, torch.device("cuda")))


def test_truncated_texts_are_counted_exactly() -> None:
    tokenizer = open_clip.get_tokenizer("small-clip")
    room = tokenizer.context_length - 2
    texts = ["word " * (room - 1), "word " * room, "word " * (room + 1), "word " * 200, ""]
    (batch,) = batches(Texts(texts, tokenizer), [(0, 5)], 1, CPU)
    assert batch.truncated.tolist() == [False, False, True, True, False]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.999)])
def test_gpu_equals_cpu(tmp_path: Path, precision: str, least: float) -> None:
    paths, texts = varied_pictures(tmp_path, 64), varied_texts(64)
    cpu, gpu = _encoder("ViT-B-32"), _encoder("ViT-B-32", torch.device("cuda"), precision)
    gpu.model.load_state_dict(cpu.model.state_dict())
    assert cosine(encoded(gpu, "image", paths), encoded(cpu, "image", paths)).min() > least
    assert cosine(encoded(gpu, "text", texts), encoded(cpu, "text", texts)).min() > least
