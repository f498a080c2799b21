"""Encoders that a user chooses: models of open_clip, sentence-transformers and timm, and vectors of one's own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import polars as pl
import pytest
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from benchmarks.parity import varied_pictures
from decorec.artifacts.layout import picture_path
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError, explain
from decorec.features.clip import SMALL_CLIP, build_clip, load_clip
from decorec.features.decode import Texts, batches, decode
from decorec.features.encoder import Pixels
from decorec.features.given import GivenVectors
from decorec.features.item_encoder import encode_items
from decorec.features.registry import KINDS
from decorec.features.sentences import load_sentences
from decorec.features.step import features
from decorec.features.vision import load_vision
from decorec.features.weights import locate
from docs.generate.encoders import MODELS, tables
from tests.features.test_item_encoder import counted
from tests.support.small_shop import COLOURS, SHAPES, step_files, write_shop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CPU = torch.device("cpu")
ITEMS = 12
LONGEST = 40
VIT = "test_vit.r160_in1k"


def tokenizer(end: str, padding: str) -> PreTrainedTokenizerFast:
    """A tokenizer of words that ends each text with ``end``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *COLOURS, *SHAPES, "article", "word", ","]
    words += [str(number) for number in range(ITEMS)]
    numbers = {word: number for number, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single=f"[CLS] $A {end}", special_tokens=[("[CLS]", 1), (end, numbers[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=padding, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random BERT with mean pooling, a prompt and rows of length 1, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("sentences")
    torch.manual_seed(0)
    words = tokenizer("[SEP]", "[PAD]")
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **shape)).save_pretrained(folder / "bert")
    words.save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=LONGEST)
    parts = [transformer, Pooling(24, pooling_mode="mean"), Normalize()]
    model = SentenceTransformer(modules=parts, device="cpu", prompts={"item": "article "}, default_prompt_name="item")
    model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small model of timm."""
    path = tmp_path_factory.mktemp("vision") / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(VIT).state_dict(), path)
    return path


@pytest.fixture
def settings(sentences: Path, vision: Path) -> dict[str, Any]:
    """Texts by one model, pictures by the other."""
    return {
        "text": "sentence-transformers",
        "text_model": f"local-dir:{sentences}",
        "image": "timm",
        "image_model": VIT,
        "image_weights": str(vision),
        "batch_size": 4,
        "device": "cpu",
    }


def encoded(folder: Path, settings: dict[str, Any]) -> dict[str, FeatureFile]:
    """What the step writes."""
    files = step_files(folder)
    features(settings=FeaturesConfig.model_validate(settings), **files)
    return {name: FeatureFile.read(files[name]) for name in ("text", "image")}


def test_texts_and_pictures_by_two_models_are_those_of_the_packages_themselves(
    tmp_path: Path, settings: dict[str, Any], sentences: Path, vision: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    write_shop(tmp_path, ITEMS)
    table = pl.read_parquet(tmp_path / "items.parquet")
    longer = ["word " * (7 * number) for number in range(4)]
    table = table.with_columns(text=pl.Series([*longer[1:], *table["text"][3:]])).write_parquet(
        tmp_path / "items.parquet"
    )
    found = encoded(tmp_path, settings)
    texts = pl.read_parquet(tmp_path / "items.parquet")["text"].to_list()
    expected = SentenceTransformer(str(sentences), device="cpu").encode(texts)
    assert found["text"].x == pytest.approx(expected, abs=1e-5), "with its prompt, pooling and length"
    assert np.linalg.norm(found["text"].x, axis=1) == pytest.approx(1, abs=1e-5)
    model = timm.create_model(VIT, num_classes=0).eval()
    state = load_file(vision)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items() if not k.startswith("head.")}, strict=True)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    checksums = pl.read_parquet(tmp_path / "images.parquet")["sha256"].to_list()
    paths = [picture_path(tmp_path / "cache", sha256) for sha256 in checksums]
    with torch.no_grad():
        pictures = model(torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])).numpy()
    assert found["image"].x == pytest.approx(pictures, abs=1e-4)
    assert (found["text"].x.shape[1], found["image"].x.shape[1]) == (24, model.num_features)
    about = found["text"].metadata
    assert about["encoder"] == "sentence-transformers" and about["context_length"] == str(LONGEST)
    assert about["truncated_texts"] == "0.0000"
    assert json.loads(found["image"].metadata["preprocessing"])["input_size"] == [3, 160, 160]

    # Every day: the pinned encoder, one more product, and a text that is cut.
    shutil.copy(tmp_path / "encoder.safetensors", tmp_path / "pinned.safetensors")
    pinned = {"encoder": str(tmp_path / "pinned.safetensors"), "device": "cpu"}
    table = pl.read_parquet(tmp_path / "items.parquet")
    new = pl.DataFrame({"item": ["new"], "text": ["word " * LONGEST]})
    pl.concat([new, table]).write_parquet(tmp_path / "items.parquet")
    caplog.clear()
    with caplog.at_level("INFO", "decorec"):
        after = encoded(tmp_path, pinned)
    assert counted(caplog.text) == {"texts": (1, ITEMS + 1), "pictures": (0, ITEMS)}
    for name in ("text", "image"):
        assert np.array_equal(after[name].x[1:], found[name].x)
    assert after["text"].metadata["truncated_texts"] == f"{1 / (ITEMS + 1):.4f}"
    shutil.rmtree(tmp_path / "cache/features")
    again = encoded(tmp_path, pinned)
    assert all(np.array_equal(again[name].x, after[name].x) for name in again), "whatever is encoded together"
    alone = encode_items(Path(pinned["encoder"]), new.with_columns(picture=pl.lit(str(paths[0]))), device="cpu")
    assert np.array_equal(alone["text"].x[0], after["text"].x[0])
    assert np.array_equal(alone["image"].x[0], after["image"].x[1])


def test_texts_and_pictures_by_two_models_of_open_clip(tmp_path: Path) -> None:
    write_shop(tmp_path, ITEMS)
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = build_clip(SMALL_CLIP.stem, None, "fp32", CPU).model.state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / f"{seed}.safetensors")
    one, two = (
        {"encoder": "clip", "model": SMALL_CLIP.stem, "weights": str(tmp_path / f"{seed}.safetensors"), "device": "cpu"}
        for seed in (1, 2)
    )
    apart = one | {"text": "open_clip", "text_model": two["model"], "text_weights": two["weights"]}
    found, first, second = (encoded(tmp_path, settings) for settings in (apart, one, two))
    assert np.array_equal(found["image"].x, first["image"].x) and np.array_equal(found["text"].x, second["text"].x)
    assert not np.allclose(first["text"].x, second["text"].x)
    assert [found[name].metadata["weights"] for name in ("text", "image")] == [two["weights"], one["weights"]]
    encoded(tmp_path, apart)
    shutil.copy(tmp_path / "encoder.safetensors", tmp_path / "pinned.safetensors")
    pinned = encoded(tmp_path, {"encoder": str(tmp_path / "pinned.safetensors"), "device": "cpu"})
    assert all(np.array_equal(pinned[name].x, found[name].x) for name in found)
    with pytest.raises(DecorecError, match=r"features\.text_weights: expected a weights tag of small-clip"):
        encoded(tmp_path, apart | {"text_weights": "nowhere.pt"})
    with pytest.raises(
        DecorecError, match=r"features\.text_model: expected a model name of open_clip, found 'big-clip'"
    ):
        encoded(tmp_path, apart | {"text_model": "big-clip"})


def test_a_changed_model_encodes_its_modality_again_and_is_no_longer_the_pinned_one(
    tmp_path: Path, settings: dict[str, Any], sentences: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_shop(tmp_path, ITEMS)
    copy = tmp_path / "model"
    shutil.copytree(sentences, copy)
    settings["text_model"] = f"local-dir:{copy}"
    encoded(tmp_path, settings)
    shutil.copy(tmp_path / "encoder.safetensors", tmp_path / "pinned.safetensors")
    moved = tmp_path / "moved" / "model"
    shutil.copytree(copy, moved)
    with caplog.at_level("INFO", "decorec"):
        encoded(tmp_path, settings | {"text_model": f"local-dir:{moved}"})
    assert counted(caplog.text) == {"texts": (0, ITEMS), "pictures": (0, ITEMS)}, "where it lies does not matter"
    pooling = next(copy.glob("*Pooling/config.json"))
    pooling.write_text(pooling.read_text().replace("mean", "max"))
    caplog.clear()
    with caplog.at_level("INFO", "decorec"):
        encoded(tmp_path, settings)
    assert counted(caplog.text) == {"texts": (ITEMS, ITEMS), "pictures": (0, ITEMS)}
    with pytest.raises(DecorecError, match=r"pinned\.safetensors: expected the configuration .* with the digest"):
        encoded(tmp_path, {"encoder": str(tmp_path / "pinned.safetensors"), "device": "cpu"})


def test_code_and_pickles_of_a_model_are_not_run(tmp_path: Path, sentences: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sentences, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own.Pooling"
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Pooling: pass\n")
    kept = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(DecorecError, match=r"found 'own\.Pooling' in local-dir:.*, which is code of the model's own"):
        load_sentences(f"local-dir:{folder}", "", "fp32", CPU)
    (folder / "modules.json").write_text(kept)
    weights = next(folder.rglob("model.safetensors"))
    torch.save({"pooler.dense.bias": Ran(tmp_path / "ran")}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(DecorecError, match=r"with its weights as model\.safetensors, found"):
        load_sentences(f"local-dir:{folder}", "", "fp32", CPU)
    (folder / "modules.json").unlink()
    with pytest.raises(
        DecorecError, match=r"expected a model that sentence-transformers has saved, with modules\.json"
    ):
        load_sentences(f"local-dir:{folder}", "", "fp32", CPU)
    assert not (tmp_path / "ran").exists()


class Ran:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_what_cannot_be_had_is_said_in_one_sentence(
    tmp_path: Path, vision: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(
        DecorecError, match=r"repository sentence-transformers/tiny into a folder .* set features\.text_mo"
    ):
        load_sentences("tiny", "", "fp32", CPU)
    with pytest.raises(DecorecError, match="found no folder nowhere"):
        load_sentences("local-dir:nowhere", "", "fp32", CPU)
    with pytest.raises(DecorecError, match=rf"repository timm/{VIT} on a .* set features\.image_weights to that path"):
        load_vision(VIT, "", "fp32", CPU)
    with pytest.raises(
        DecorecError, match=r"found 'vit_smal_patch14_dinov2'; similar names: .*vit_small_patch14_dinov2"
    ):
        load_vision("vit_smal_patch14_dinov2", "", "fp32", CPU)
    with pytest.raises(DecorecError, match=r"features\.image_weights: expected a file .* found no file 'nowhere\.pt'"):
        load_vision(VIT, "nowhere.pt", "fp32", CPU)
    part = tmp_path / "part.safetensors"
    save_file({k: torch.from_numpy(v) for k, v in load_file(vision).items() if k != "norm.bias"}, part)
    with pytest.raises(DecorecError, match=r"found a file that does not fit \(.*norm\.bias"):
        load_vision(VIT, str(part), "fp32", CPU)
    torch.save({"state_dict": Ran(tmp_path / "ran")}, tmp_path / "hostile.pt")
    with pytest.raises(DecorecError, match="found a file that does not fit"):
        load_vision(VIT, str(tmp_path / "hostile.pt"), "fp32", CPU)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(DecorecError) as caught:
        load_clip("ViT-B-16-SigLIP2", "webli", "fp32", CPU)
    words = str(caught.value)
    assert "tokenizer.json, tokenizer_config.json of timm/ViT-B-16-SigLIP2" in words and "model: local-dir:" in words
    with pytest.raises(
        DecorecError, match=r"copy the Hugging Face repository timm/ViT-B-16-SigLIP2 .*set features\.model"
    ):
        build_tokenizer("ViT-B-16-SigLIP2")
    for package, load in (
        ("sentence_transformers", lambda: load_sentences("tiny", "", "fp32", CPU)),
        ("transformers", lambda: build_tokenizer("ViT-B-16-SigLIP2")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModuleNotFoundError) as missing:
            load()
        assert re.search(
            "expected the package .*, found that it is not installed; run: pip", str(explain(missing.value, ""))
        )


def build_tokenizer(model: str) -> Any:
    from decorec.features import clip

    return clip._tokenizer(model, "model")


def test_pictures_of_published_configurations_are_those_of_open_clip_bit_for_bit(tmp_path: Path) -> None:
    paths = varied_pictures(tmp_path, 8)
    seen = set()
    for model, tag in (
        ("ViT-B-32-quickgelu", "openai"),
        ("ViT-B-16-SigLIP2", "webli"),
        ("MobileCLIP2-S0", "dfndr2b"),
        ("MobileCLIP2-S3", "dfndr2b"),
        ("ViT-H-14-CLIPA-336", "datacomp1b"),
    ):
        size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
        settings = {
            k.removeprefix("image_"): v for k, v in locate(model, tag).settings.items() if k.startswith("image")
        }
        configuration = open_clip.transform.PreprocessCfg(size=size, **settings)
        transform = open_clip.transform.image_transform_v2(configuration, is_train=False)
        about = {"size": size, "mean": configuration.mean, "std": configuration.std}
        pixels = Pixels.of(transform.transforms, about, CPU)
        ours = pixels.normalised(torch.from_numpy(np.stack([decode(path, pixels.geometry) for path in paths])))
        assert torch.equal(ours, torch.stack([transform(Image.open(path)) for path in paths])), model
        seen.add((configuration.mean, configuration.interpolation, configuration.resize_mode))
    assert len(seen) == 5


def test_a_model_with_a_tokenizer_of_its_own_in_a_folder(tmp_path: Path) -> None:
    """As SigLIP: pictures are squashed, and a text ends with the token that also fills it up."""
    folder, length = tmp_path / "model", 8
    folder.mkdir()
    words = tokenizer("[SEP]", "[SEP]")
    words.save_pretrained(folder)
    configuration = json.loads(SMALL_CLIP.read_text())
    configuration["text_cfg"] |= {
        "context_length": length,
        "vocab_size": len(words),
        "hf_tokenizer_name": "someone/else",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bicubic"}
    about = {"model_cfg": configuration, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.manual_seed(0)
    (tmp_path / "own.json").write_text(json.dumps(configuration))
    open_clip.add_model_config(tmp_path / "own.json")
    state = open_clip.create_model("own").state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    clip = load_clip(f"local-dir:{folder}", "", "fp32", CPU)
    assert clip.tokenizer.context_length == length and len(clip.metadata["tokenizer_sha256"]) == 64
    assert clip.metadata["weights_sha256"] and json.loads(clip.metadata["preprocessing"])["resize_mode"] == "squash"
    texts = ["word " * (length - 3), "word " * (length - 2), "Word! " * (length - 1), "word " * 50, ""]
    (batch,) = batches(Texts(texts, clip.tokenizer), [(0, 5)], 1, CPU)
    assert batch.truncated.tolist() == [False, False, True, True, False]
    write_shop(tmp_path, 4)
    settings = {"model": f"local-dir:{folder}", "weights": "", "batch_size": 4, "device": "cpu"}
    found = encoded(tmp_path, settings)
    reference = open_clip.create_model("own")
    reference.load_state_dict(state)
    raw = pl.read_parquet(tmp_path / "items.parquet")["text"].to_list()
    with torch.no_grad():
        expected = reference.eval().encode_text(clip.tokenizer(raw)).numpy()
    assert found["text"].x == pytest.approx(expected, abs=1e-5) and found["image"].x.any(1).all()
    shutil.copy(tmp_path / "encoder.safetensors", tmp_path / "pinned.safetensors")
    changed = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = changed["model"]["vocab"]
    vocabulary["red"], vocabulary["green"] = vocabulary["green"], vocabulary["red"]
    (folder / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(DecorecError, match=r"expected the tokenizer .* with the digest"):
        encoded(tmp_path, {"encoder": str(tmp_path / "pinned.safetensors"), "device": "cpu"})


def vectors(path: Path, items: list[Any], rows: list[Any]) -> str:
    """A table of vectors."""
    pl.DataFrame({"item": items, "vector": rows}).write_parquet(path)
    return str(path)


def test_vectors_of_ones_own(tmp_path: Path, sentences: Path) -> None:
    write_shop(tmp_path, 4)
    table = tmp_path / "mine.parquet"
    settings = {"text": "sentence-transformers", "text_model": f"local-dir:{sentences}", "device": "cpu"}
    settings["image"] = vectors(table, ["i2", " i0 ", "i3", "i1", "sold out"], [[1.0, 2], [3, 4], [0, 0], None, [5, 6]])
    found = encoded(tmp_path, settings)
    image = found["image"]
    assert image.x.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]] and found["text"].x.shape == (4, 24)
    assert image.present.tolist() == [True, False, True, False], "null, zeros and no row: an item without a picture"
    assert image.metadata["encoder"] == "given" and len(image.metadata["source_sha256"]) == 64
    image.write(tmp_path / "copy.safetensors")
    again = encoded(tmp_path, settings | {"image": str(tmp_path / "copy.safetensors")})["image"]
    assert again.x.tolist() == image.x.tolist() and again.present.tolist() == image.present.tolist()

    encoded(tmp_path, settings)
    shutil.copy(tmp_path / "encoder.safetensors", tmp_path / "pinned.safetensors")
    pinned = {"encoder": str(tmp_path / "pinned.safetensors"), "device": "cpu"}
    vectors(table, ["i0", "i2", "new"], [[3, 4], [1, 2], [7, 8]])
    assert encoded(tmp_path, pinned)["image"].x.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]
    items = pl.DataFrame(
        {"item": ["new", "other"], "text": ["red", "red"]}, schema=dict.fromkeys(["item", "text"], pl.String)
    )
    added = encode_items(
        tmp_path / "pinned.safetensors", items.with_columns(picture=pl.lit(None, pl.String)), device="cpu"
    )
    assert added["image"].x.tolist() == [[7, 8], [0, 0]] and added["image"].present.tolist() == [True, False]
    vectors(table, ["i0"], [[1, 2, 3]])
    with pytest.raises(DecorecError, match=r"mine\.parquet: expected vectors of width 2, with which .* found 3"):
        encoded(tmp_path, pinned)


def test_vectors_whose_ids_have_lost_their_zeros(tmp_path: Path) -> None:
    given = GivenVectors.read(Path(vectors(tmp_path / "mine.parquet", [7, 107], [[1.0], [2.0]])))
    assert given.of(["107", "7", "007"])[1].tolist() == [True, True, False]
    with pytest.raises(DecorecError, match=r"mine\.parquet: expected item '007' of the catalogue, found '7' \(1 items"):
        given.of(["107", "007", "008"])
    fractions = GivenVectors.read(Path(vectors(tmp_path / "mine.parquet", ["7.0", "107"], [[1.0], [2.0]])))
    with pytest.raises(DecorecError, match=r"mine\.parquet: expected item '7' of the catalogue, found '7\.0' \(1"):
        fractions.of(["107", "7"])


def test_blanks_around_ids_of_vectors_do_not_count(tmp_path: Path) -> None:
    """In either form, as in the tables of a shop."""
    arrays = tmp_path / "mine.safetensors"

    def written(ids: str) -> Path:
        save_file(
            {"x": torch.tensor([[1.0], [2.0]]), "items": torch.tensor(list(ids.encode()), dtype=torch.uint8)}, arrays
        )
        return arrays

    for path in (written(" i0\ni1 "), Path(vectors(tmp_path / "mine.parquet", [" i0", "i1 "], [[1.0], [2.0]]))):
        x, present = GivenVectors.read(path).of(["i0", "i1", "i2"])
        assert x.tolist() == [[1], [2], [0]] and present.tolist() == [True, True, False], path
    for ids, words in (("i0\n ", "row 1: expected an item, found none"), ("i0\ni0 ", "rows 0 and 1: .*'i0' twice")):
        with pytest.raises(DecorecError, match=rf"mine\.safetensors, {words}"):
            GivenVectors.read(written(ids))


@pytest.mark.parametrize(
    ("items", "rows", "words"),
    [
        (["i0", "i1", "i0"], [[1.0], [2.0], [3.0]], r"rows 0 and 2: expected each item once, found 'i0' twice"),
        (
            ["i0", "i1"],
            [[1.0, 2.0], [float("nan"), 1.0]],
            r"item 'i1': expected finite values, found NaN or infinity; 1 such",
        ),
        (["i0", "i1", "i2"], [[1.0, 2.0], [1.0], [3.0, 4.0]], r"item 'i1': expected 2 numbers, .* found 1; 1 such"),
        (["i0", "i1", "i2"], [[1.0, 2.0], [1.0, None], [3.0, 4.0]], r"item 'i1': expected 2 numbers, .* with gaps"),
        (["x", "y"], [[1.0], [2.0]], r"expected vectors of the items of .*items\.parquet \(such as 'i0'\), found none"),
        ([None, "i1"], [[1.0], [2.0]], r"row 0: expected an item, found none"),
        ([0.5, 1.0], [[1.0], [2.0]], r"expected columns item and vector .* found item \(Float64\), vector \(List"),
        (["i0"], ["1 2"], r"expected columns item and vector .*vector \(String\)"),
        (["i0"], [[]], r"expected vectors, found none|expected 0 numbers|expected columns"),
    ],
)
def test_vectors_that_cannot_be_used(tmp_path: Path, items: list[Any], rows: list[Any], words: str) -> None:
    write_shop(tmp_path, 3)
    with pytest.raises(DecorecError, match=rf"mine\.parquet.*{words}"):
        encoded(tmp_path, {"text": "lsa", "image": vectors(tmp_path / "mine.parquet", items, rows), "device": "cpu"})


def test_the_table_of_models_is_that_of_the_packages() -> None:
    for kind, name, width, reads, licence in MODELS:
        model, _, tag = name.partition(", ")
        if kind == "clip":
            about = open_clip.get_model_config(model)
            side, length = about["vision_cfg"]["image_size"], about["text_cfg"].get("context_length", 77)
            assert (about["embed_dim"], f"{side} x {side} pixels, {length} tokens") == (width, reads), name
            assert tag in open_clip.list_pretrained_tags_by_model(model)
        elif kind == "timm":
            with torch.device("meta"):
                network = timm.create_model(model, num_classes=0)
            _, height, side = network.pretrained_cfg["input_size"]
            found = network.num_features, f"{height} x {side} pixels", network.pretrained_cfg["license"]
            assert found == (width, reads, licence), name
        assert kind in KINDS
    for kind in KINDS.values():
        assert set(kind.keys) <= FeaturesConfig.model_fields.keys()
    assert tables().count("\n") == len(KINDS) + len(MODELS) + 6


def test_keys_that_do_not_fit() -> None:
    for values, words in (
        ({"text": "timm"}, "text"),
        ({"text": "sentence-transformers"}, "expected a model, found none; add text_model"),
        ({"text": "open_clip"}, "add text_model, such as ViT-B-16-SigLIP2"),
        ({"text": "open_clip", "text_model": "ViT-B-32"}, "add text_weights, a tag or a file"),
        ({"image": "timm"}, "add image_model, such as vit_small"),
        ({"image": "results/shop/features/image.safetensors"}, "outside results/"),
    ):
        with pytest.raises(ValueError, match=words):
            FeaturesConfig.model_validate(values)
    chosen = FeaturesConfig(encoder="fit", image="timm", image_model="local-dir:models/dino", text="my/text.parquet")
    assert chosen.ways == {"text": "my/text.parquet", "image": "timm"}
    assert chosen.files == [Path("models/dino"), Path("my/text.parquet")]
    both = FeaturesConfig(encoder="clip", text="open_clip", text_model="ViT-B-32", text_weights="weights/b.pt")
    assert both.ways == {"text": "open_clip", "image": "clip"}
    assert both.files == [Path("weights/b.pt"), Path("openai")]
