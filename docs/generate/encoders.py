"""The tables of encoders: what each kind needs, from the registry, and models of each, from the packages themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from decorec.features.registry import KINDS

__all__ = ["models", "tables"]

CLIP = {
    ("ViT-B-32-quickgelu", "openai"): "MIT",
    ("ViT-B-32", "laion2b_s34b_b79k"): "MIT",
    ("ViT-B-16-SigLIP2", "webli"): "Apache-2.0",
    ("ViT-SO400M-14-SigLIP2", "webli"): "Apache-2.0",
    ("MobileCLIP2-S0", "dfndr2b"): "Apple's, for research",
}
"""Model and tag -> licence, as the publisher says."""
VISION = ("vit_small_patch14_dinov2.lvd142m", "vit_base_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m")
SENTENCES = {
    "all-MiniLM-L6-v2": ("384", "256 tokens", "Apache-2.0"),
    "all-mpnet-base-v2": ("768", "384 tokens", "Apache-2.0"),
    "paraphrase-multilingual-MiniLM-L12-v2": ("384", "128 tokens", "Apache-2.0"),
    "BAAI/bge-small-en-v1.5": ("384", "512 tokens", "MIT"),
}
"""Name -> dimension, maximum length and licence, as the model's card says; the step reads the first two itself."""


def tables() -> str:
    """Both tables, as markdown."""
    columns = ("chosen by", "named by", "needs", "weights", "from the network", "dimension", "texts", "licence")
    rows = []
    for kind in KINDS.values():
        keys = ", ".join(f"`{key}`" for key in kind.keys)
        about = (kind.needs, kind.weights, kind.network, kind.dimension, kind.texts or "none", kind.licence)
        rows.append((kind.chosen, keys, *about))
    named = ("encoder", "model", "dimension", "reads", "licence")
    return f"{_table(columns, rows)}\n\nSome models:\n\n{_table(named, models())}"


def models() -> Iterator[tuple[str, str, str, str, str]]:
    """Kind, name, dimension, what it reads, licence; figures of open_clip and timm are from their configurations."""
    import open_clip
    import timm
    import torch

    for (model, tag), licence in CLIP.items():
        settings = open_clip.get_model_config(model)
        side, length = settings["vision_cfg"]["image_size"], settings["text_cfg"].get("context_length", 77)
        reads = f"{side} x {side} pixels, {length} tokens"
        yield "clip", f"`model: {model}`, `weights: {tag}`", str(settings["embed_dim"]), reads, licence
    for name, (dimension, length, licence) in SENTENCES.items():
        yield "sentence-transformers", f"`text_model: {name}`", dimension, length, licence
    for name in VISION:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
        _, height, width = network.pretrained_cfg["input_size"]
        about = str(network.num_features), f"{height} x {width} pixels", str(network.pretrained_cfg["license"])
        yield "timm", f"`image_model: {name}`", *about


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
