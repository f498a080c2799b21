"""An open_clip model with its preprocessing and tokenizer, from a tag, a local weights file or given tensors."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from torch import Tensor

from decorec.errors import DecorecError
from decorec.features.weights import LOADING_ERRORS, Weights, locate
from decorec.processor import pinned

__all__ = ["SMALL_CLIP", "Encoder", "Geometry", "build_encoder", "load_encoder", "pick_device", "small_encoder"]

log = logging.getLogger("decorec")
SMALL_CLIP = Path(__file__).parent / "small-clip.json"
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Geometry:
    """The steps of open_clip's preprocessing that change the picture: resize, crop, colour mode."""

    steps: tuple[Callable[[Any], Any], ...]
    size: int

    def __call__(self, picture: Any) -> Any:
        """The picture in the model's input size, as a PIL picture in RGB."""
        for step in self.steps:
            picture = step(picture)
        return picture


@dataclass(frozen=True)
class Encoder:
    """A model in evaluation mode. Features are float32, NOT normalised, on the model's device."""

    model: Any
    geometry: Geometry
    tokenizer: Any
    device: torch.device
    precision: Precision
    mean: Tensor
    std: Tensor
    metadata: dict[str, str]

    @torch.inference_mode()
    def encode_images(self, pictures: Tensor) -> Tensor:
        """Features [batch, width] of ``pictures`` [batch, height, width, 3] uint8."""
        with self.arithmetic():
            features: Tensor = self.model.encode_image(self.normalised(pictures), normalize=False)
        return features.float()

    def normalised(self, pictures: Tensor) -> Tensor:
        """The model's input [batch, 3, height, width] float32 of ``pictures`` [batch, height, width, 3] uint8.

        Computes the same as torchvision's ToTensor and Normalize, for a whole batch and on the device of the model.
        """
        pictures = pictures.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        scaled = pictures.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        return scaled.sub_(self.mean).div_(self.std)

    @torch.inference_mode()
    def encode_texts(self, tokens: Tensor) -> Tensor:
        """Features [batch, width] of ``tokens`` [batch, context length] int64."""
        tokens = tokens.to(self.device, non_blocking=True)
        with self.arithmetic():
            features: Tensor = self.model.encode_text(tokens, normalize=False)
        return features.float()

    @property
    def width(self) -> int:
        """Length of a feature vector of the model."""
        return int(self.encode_texts(self.tokenizer([""])).shape[1])

    def arithmetic(self) -> torch.autocast:
        """Context in which the model computes in its precision."""
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32")


def pick_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of ``features.device``.

    Raises:
        DecorecError: the name is cuda and there is no CUDA device.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DecorecError(
            "features.device: expected a CUDA device, found none that torch can use; set features.device to auto or cpu"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def load_encoder(model: str, weights: str, precision: Precision, device: torch.device) -> Encoder:
    """Load ``model`` (a name of open_clip, or small-clip) with ``weights`` (a tag of open_clip, or a local file).

    Raises:
        DecorecError: unknown model or tag, a tag whose file cannot be fetched, or a file that does not fit.
    """
    _register_small_clip()
    source = locate(model, weights)
    log.info("features: loading %s, weights %s, %s on %s", model, weights, precision, device.type)
    try:
        encoder = build_encoder(model, source, precision, device)
    except LOADING_ERRORS as error:
        raise source.explain(error) from error
    return _identified(encoder, weights)


def small_encoder(
    state: Mapping[str, npt.NDArray[np.float32]], name: str, precision: Precision, device: torch.device
) -> Encoder:
    """The model of small-clip.json with the weights ``state``, which are called ``name``.

    Raises:
        RuntimeError: the weights are of another model.
    """
    with torch.random.fork_rng(devices=[]):
        encoder = build_encoder(SMALL_CLIP.stem, None, precision, device)
    encoder.model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return _identified(encoder, name)


def _identified(encoder: Encoder, weights: str) -> Encoder:
    """The encoder with the name and the digest of its weights among the metadata."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return replace(encoder, metadata={**encoder.metadata, "weights": weights, "weights_sha256": digest.hexdigest()})


def build_encoder(model: str, source: Weights | None, precision: Precision, device: torch.device) -> Encoder:
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
    return Encoder(
        network,
        _geometry(preprocess.transforms, settings["size"]),
        _tokenizer(model),
        device,
        precision,
        _channels(settings["mean"], device),
        _channels(settings["std"], device),
        metadata,
    )


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


def _tokenizer(model: str) -> Any:
    try:
        with _open_clip_silent():
            return open_clip.get_tokenizer(model)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise DecorecError(
            f"features.model: expected the tokenizer of {model}, found: {' '.join(str(error).split())[:400]}; models "
            "whose tokenizer is not CLIP's need the package transformers and, the first time, the network"
        ) from error


def _geometry(steps: Sequence[Any], size: int | Sequence[int]) -> Geometry:
    *before, to_tensor, normalize = steps
    names = (type(to_tensor).__name__, type(normalize).__name__)
    if names != ("MaybeToTensor", "Normalize"):
        raise TypeError(f"expected open_clip's preprocessing to end with MaybeToTensor and Normalize, found {names}")
    return Geometry(tuple(before), size if isinstance(size, int) else max(size))


def _channels(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
