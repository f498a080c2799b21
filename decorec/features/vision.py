"""Pictures encoded by a model of timm, such as DINOv2: the pooled output before any classifier.

Size, crop, mean, deviation and interpolation are those of the model's own configuration.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decorec.config.features import FOLDER
from decorec.errors import DecorecError
from decorec.features.decode import Pictures
from decorec.features.encoder import (
    LOADING_ERRORS,
    Modality,
    Pixels,
    Precision,
    arithmetic,
    digest_of,
    one_line,
    text_digest,
)
from decorec.processor import pinned

__all__ = ["Vision", "load_vision"]

log = logging.getLogger("decorec")
KEY = "features.image_model"


@dataclass(frozen=True)
class Vision:
    """A model of timm in evaluation mode, without its classifier. Features are NOT normalised."""

    model: Any
    pixels: Pixels
    device: torch.device
    precision: Precision
    metadata: dict[str, str]

    def source(self, modality: Modality, values: Sequence[Any]) -> Pictures:
        """Decoded pictures."""
        return Pictures(values, self.pixels.geometry)

    @torch.inference_mode()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Features of pictures [batch, height, width, 3] uint8."""
        with arithmetic(self.device, self.precision):
            features: Tensor = self.model(self.pixels.normalised(batch))
        return features.float()

    def width(self, modality: Modality) -> int:
        """Length of a feature vector."""
        side = self.pixels.geometry.size
        return int(self.encode("image", torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[1])


def load_vision(model: str, weights: str, precision: Precision, device: torch.device) -> Vision:
    """Load ``model`` of timm with ``weights``.

    Args:
        model: a name such as vit_small_patch14_dinov2.lvd142m, whose weights are fetched once, or local-dir: and a
            folder with config.json and model.safetensors.
        weights: a file of weights (safetensors, or tensors that torch has saved); "": those of the name. local-dir: and
            a folder: in place of ``model``.
        precision: arithmetic.
        device: where it computes.

    Raises:
        DecorecError: there is no such model, or its weights cannot be fetched or do not fit.
    """
    import timm
    from timm.data import create_transform, resolve_model_data_config

    if weights.startswith(FOLDER):
        model, weights = weights, ""
    _expect_named(model, weights)
    log.info("features: loading %s, weights %s, %s on %s", model, weights or "of the name", precision, device.type)
    try:
        # With the classifier, so that every weight must be there; then without.
        network: Any = timm.create_model(
            model, pretrained=True, pretrained_cfg_overlay={"file": weights, "custom_load": False} if weights else None
        )
    except LOADING_ERRORS as error:
        raise _explained(model, weights, error) from error
    network.reset_classifier(0)
    network = network.to(device).eval().requires_grad_(False)
    settings: dict[str, Any] = resolve_model_data_config(network)
    _, height, width = settings["input_size"]
    transform: Any = create_transform(**settings, is_training=False)
    pixels = Pixels.of([_as_rgb, *transform.transforms], {**settings, "size": (height, width)}, device)
    metadata = {
        "model": Path(model.removeprefix(FOLDER)).name,
        "weights": weights or (model if model.startswith(FOLDER) else ""),
        "weights_sha256": digest_of(network),
        "configuration_sha256": text_digest(repr(network)),
        "preprocessing": json.dumps(settings, sort_keys=True),
        "precision": precision,
        "device": device.type,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "reproducible": str(pinned()).lower(),
    }
    return Vision(network, pixels, device, precision, metadata)


def _as_rgb(picture: Any) -> Any:
    return picture.convert("RGB")


def _expect_named(model: str, weights: str) -> None:
    """Refuse a name that timm does not know, weights that are no file, and a model without any weights."""
    import difflib

    import timm
    from timm.models import is_model

    if model.startswith(FOLDER):
        folder = Path(model.removeprefix(FOLDER))
        if not (folder / "config.json").is_file():
            raise DecorecError(f"{KEY}: expected a folder with config.json and model.safetensors, found none: {folder}")
        return
    if not is_model(model):
        similar = difflib.get_close_matches(model, timm.list_pretrained() + timm.list_models(), n=5, cutoff=0.4)
        raise DecorecError(
            f"{KEY}: expected a model name of timm, found {model!r}; similar names: {', '.join(similar) or 'none'}"
        )
    if weights and not Path(weights).is_file():
        raise DecorecError(
            f"features.image_weights: expected a file of weights of {model}, found no file {weights!r}; correct the "
            "path, or leave it out to fetch those of the name"
        )


def _explained(model: str, weights: str, error: Exception) -> DecorecError:
    reason = one_line(error)
    if weights or model.startswith(FOLDER):
        return DecorecError(
            f"features.image_{'weights' if weights else 'model'}: expected weights of {model} in "
            f"{weights or model.removeprefix(FOLDER)}, found a file that does not fit ({reason}); set {KEY} to the "
            "model that the file belongs to, or get the right file"
        )
    return DecorecError(
        f"{KEY}: expected to fetch the weights of {model}, found: {reason}; get the file model.safetensors of the "
        f"Hugging Face repository timm/{model} on a machine with network access, put it at weights/{model}.safetensors "
        f"(or anywhere), and set features.image_weights to that path"
    )
