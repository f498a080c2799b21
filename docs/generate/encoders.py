"""The tables of encoders: what each kind needs, from the registry, and some models of each."""

from __future__ import annotations

from collections.abc import Iterable

from decorec.features.registry import KINDS

__all__ = ["MODELS", "tables"]

MODELS = (
    ("clip", "ViT-B-32-quickgelu, openai", 512, "224 x 224 pixels, 77 tokens", "MIT"),
    ("clip", "ViT-B-32, laion2b_s34b_b79k", 512, "224 x 224 pixels, 77 tokens", "MIT"),
    ("clip", "ViT-B-16-SigLIP2, webli", 768, "224 x 224 pixels, 64 tokens", "Apache-2.0"),
    ("clip", "ViT-SO400M-14-SigLIP2, webli", 1152, "224 x 224 pixels, 64 tokens", "Apache-2.0"),
    ("clip", "MobileCLIP2-S0, dfndr2b", 512, "256 x 256 pixels, 77 tokens", "Apple's, for research"),
    ("sentence-transformers", "all-MiniLM-L6-v2", 384, "256 tokens", "Apache-2.0"),
    ("sentence-transformers", "all-mpnet-base-v2", 768, "384 tokens", "Apache-2.0"),
    ("sentence-transformers", "paraphrase-multilingual-MiniLM-L12-v2", 384, "128 tokens", "Apache-2.0"),
    ("sentence-transformers", "BAAI/bge-small-en-v1.5", 384, "512 tokens", "MIT"),
    ("timm", "vit_small_patch14_dinov2.lvd142m", 384, "518 x 518 pixels", "apache-2.0"),
    ("timm", "vit_base_patch14_dinov2.lvd142m", 768, "518 x 518 pixels", "apache-2.0"),
    ("timm", "vit_small_patch16_dinov3.lvd1689m", 384, "256 x 256 pixels", "dinov3-license"),
)
"""Kind, model (and tag), dimension, what it reads, licence as the publisher says."""


def tables() -> str:
    """Both tables, as markdown."""
    columns = ("chosen by", "named by", "needs", "weights", "from the network", "dimension", "texts", "licence")
    rows = []
    for kind in KINDS.values():
        keys = ", ".join(f"`{key}`" for key in kind.keys)
        about = (kind.needs, kind.weights, kind.network, kind.dimension, kind.texts or "none", kind.licence)
        rows.append((kind.chosen, keys, *about))
    named = ("encoder", "model", "dimension", "reads", "licence")
    models = [(kind, f"`{name}`", str(width), reads, licence) for kind, name, width, reads, licence in MODELS]
    return f"{_table(columns, rows)}\n\nSome models:\n\n{_table(named, models)}"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
