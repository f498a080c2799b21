"""The encoders that the section features can choose, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

    from decorec.features.encoder import Encoder, Precision

__all__ = ["KINDS", "Kind"]

Loader: TypeAlias = "Callable[[str, str, Precision, torch.device], Encoder]"
"""Takes model, weights, precision and device."""


@dataclass(frozen=True)
class Kind:
    """An encoder with weights of others: its value in the configuration, and what a user has to know of it.

    ``keys``: the keys of the section that name model and weights. ``needs``: packages besides those of the project.
    ``loader``: imports its module, and with it these packages, only when it is called.
    """

    name: str
    chosen: str
    keys: tuple[str, ...]
    needs: str
    weights: str
    network: str
    dimension: str
    texts: str
    licence: str
    loader: Callable[[], Loader]


def _clip() -> Loader:
    from decorec.features.clip import load_clip

    return load_clip


def _clip_of_texts() -> Loader:
    from decorec.features.clip import load_clip

    return partial(load_clip, keys=("text_model", "text_weights"))


def _sentences() -> Loader:
    from decorec.features.sentences import load_sentences

    return load_sentences


def _vision() -> Loader:
    from decorec.features.vision import load_vision

    return load_vision


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "clip",
            "`encoder: clip` (text and image)",
            ("model", "weights"),
            "nothing; the extra `encoders` for tokenizers that are not CLIP's (SigLIP, multilingual models)",
            "a tag of open_clip, a file, or `local-dir:` and a folder",
            "weights of a tag, once; such a tokenizer, once, unless it lies in the folder",
            "`embed_dim` of the model",
            "cut at the context length of the model (77 for most, 64 for SigLIP)",
            "that of the tag's publisher",
            _clip,
        ),
        Kind(
            "open_clip",
            "`text: open_clip`",
            ("text_model", "text_weights"),
            "as `encoder: clip`",
            "as `encoder: clip`",
            "as `encoder: clip`",
            "as `encoder: clip`",
            "as `encoder: clip`",
            "that of the tag's publisher",
            _clip_of_texts,
        ),
        Kind(
            "sentence-transformers",
            "`text: sentence-transformers`",
            ("text_model",),
            "the extra `encoders`",
            "a name of the Hugging Face hub, or `local-dir:` and a folder; safetensors only",
            "a name: once",
            "of the model's last layer",
            "cut at the model's `max_seq_length`",
            "that of the model's card",
            _sentences,
        ),
        Kind(
            "timm",
            "`image: timm`",
            ("image_model", "image_weights"),
            "nothing",
            "those of the name, a file, or `local-dir:` and a folder",
            "weights of a name: once",
            "of the pooled output",
            "",
            "`license` of the model's configuration in timm",
            _vision,
        ),
    )
}
