"""An open_clip model with its preprocessing and tokenizer, from a tag, a local weights file or given tensors.

Size, mean, deviation, interpolation and resize mode of pictures, and tokenizer and context length of texts, are those
of the model's own configuration.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from torch import Tensor

from decorec.config.features import FOLDER
from decorec.errors import DecorecError
from decorec.features.decode import Pictures, Source, Texts
from decorec.features.encoder import (
    LOADING_ERRORS,
    Modality,
    Pixels,
    Precision,
    arithmetic,
    digest_of,
    one_line,
    tokenizer_digest,
)
from decorec.features.weights import HUB, KEYS, Weights, locate
from decorec.processor import pinned

__all__ = ["SMALL_CLIP", "Clip", "build_clip", "load_clip", "small_clip"]

log = logging.getLogger("decorec")
SMALL_CLIP = Path(__file__).parent / "small-clip.json"


@dataclass(frozen=True)
class Clip:
    """An open_clip model in evaluation mode, which encodes texts and pictures. Features are NOT normalised."""

    model: Any
    pixels: Pixels
    tokenizer: Any
    device: torch.device
    precision: Precision
    metadata: dict[str, str]

    def source(self, modality: Modality, values: Sequence[Any]) -> Source:
        """Tokens of texts, or decoded pictures."""
        return Texts(values, self.tokenizer) if modality == "text" else Pictures(values, self.pixels.geometry)

    @torch.inference_mode()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Features of tokens [batch, context length], or of pictures [batch, height, width, 3] uint8."""
        inputs = batch.to(self.device, non_blocking=True) if modality == "text" else self.pixels.normalised(batch)
        with arithmetic(self.device, self.precision):
            way = self.model.encode_text if modality == "text" else self.model.encode_image
            features: Tensor = way(inputs, normalize=False)
        return features.float()

    def width(self, modality: Modality) -> int:
        """Length of a feature vector of the model, the same for both modalities."""
        return int(self.encode("text", self.tokenizer([""])).shape[1])


def load_clip(
    model: str, weights: str, precision: Precision, device: torch.device, keys: tuple[str, str] = KEYS
) -> Clip:
    """Load ``model`` (a name of open_clip, or small-clip) with ``weights`` (a tag of open_clip, or a local file).

    ``keys``: of the section features, that name both, for messages.

    Raises:
        DecorecError: unknown model or tag, a tag whose file cannot be fetched, or a file that does not fit.
    """
    _register_small_clip()
    source = locate(model, weights, keys)
    log.info("features: loading %s, weights %s, %s on %s", model, weights, precision, device.type)
    try:
        encoder = build_clip(model, source, precision, device)
    except LOADING_ERRORS as error:
        raise source.explain(error) from error
    return _identified(encoder, weights)


def small_clip(
    state: Mapping[str, npt.NDArray[np.float32]], name: str, precision: Precision, device: torch.device
) -> Clip:
    """The model of small-clip.json with the weights ``state``, which are called ``name``.

    Raises:
        RuntimeError: the weights are of another model.
    """
    with torch.random.fork_rng(devices=[]):
        encoder = build_clip(SMALL_CLIP.stem, None, precision, device)
    encoder.model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return _identified(encoder, name)


def _identified(clip: Clip, weights: str) -> Clip:
    """The model with the name and the digest of its weights among the metadata."""
    return replace(clip, metadata={**clip.metadata, "weights": weights, "weights_sha256": digest_of(clip.model)})


def build_clip(model: str, source: Weights | None, precision: Precision, device: torch.device) -> Clip:
    """Build the encoder; without ``source``, torch's generator draws its weights.

    Raises:
        DecorecError: the model's tokenizer cannot be loaded.
    """
    _register_small_clip()
    required, source = source is not None, source or Weights(model, None)
    with _open_clip_silent(), source.loadable() as pretrained:
        network, _, preprocess = open_clip.create_model_and_transforms(
            model,
            pretrained=pretrained,
            device=device,
            weights_only=True,
            **source.settings,
            # Without this, a model folder or repository without a weights file gives random weights.
            require_pretrained=required,
        )
    network.eval().requires_grad_(False)
    settings: dict[str, Any] = network.visual.preprocess_cfg
    metadata = {
        "model": model,
        "precision": precision,
        "device": device.type,
        "preprocessing": json.dumps(settings, sort_keys=True),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "reproducible": str(pinned()).lower(),
    }
    tokenizer = _tokenizer(model, source.keys[0])
    other = getattr(tokenizer, "tokenizer", None)
    if other is not None:  # one of its own, beside the weights
        metadata["tokenizer_sha256"] = tokenizer_digest(other)
    return Clip(network, Pixels.of(preprocess.transforms, settings, device), tokenizer, device, precision, metadata)


@contextmanager
def _open_clip_silent() -> Iterator[None]:
    """Hide open_clip's log lines, about ten per model; every failure also raises an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _register_small_clip() -> None:
    if SMALL_CLIP.stem not in open_clip.list_models():
        open_clip.add_model_config(SMALL_CLIP)


def _tokenizer(model: str, key: str) -> Any:
    try:
        with _open_clip_silent():
            return open_clip.get_tokenizer(model)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if model.startswith(FOLDER):
            place = f"put tokenizer.json and tokenizer_config.json of its repository into {model.removeprefix(FOLDER)}"
        else:
            configuration = open_clip.get_model_config(model) or {}
            repository = configuration.get("text_cfg", {}).get("hf_tokenizer_name") or model.removeprefix(HUB)
            place = (
                f"on a machine with network access copy the Hugging Face repository {repository} (tokenizer.json and "
                f"tokenizer_config.json, and its open_clip_config.json and open_clip_model.safetensors) into a folder, "
                f"and set features.{key} to {FOLDER}<folder>"
            )
        raise DecorecError(
            f"features.{key}: expected the tokenizer of {model}, found: {one_line(error)}; {place}"
        ) from error
