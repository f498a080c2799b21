"""What every encoder is: a network that turns batches of texts or pictures into vectors."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from decorec.features.decode import Geometry, Source

__all__ = [
    "LOADING_ERRORS",
    "Encoder",
    "Modality",
    "Pixels",
    "Precision",
    "arithmetic",
    "digest_of",
    "one_line",
    "text_digest",
    "tokenizer_digest",
]

LOADING_ERRORS = (RuntimeError, OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError, SafetensorError)
"""Errors raised when weights files are fetched and read."""
Modality = Literal["text", "image"]
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Encoder(Protocol):
    """A network in evaluation mode that encodes texts, pictures, or both."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Everything but the input and the size of batches that a vector depends on: name, digests, versions.

        ``weights`` says where the weights lie, on which nothing depends.
        """

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def source(self, modality: Modality, values: Sequence[Any]) -> Source:
        """The batches of ``values``: texts, or paths of stored pictures."""

    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Features [batch, width] float32 of one batch of a source, as the network gives them, on its device."""

    def width(self, modality: Modality) -> int:
        """Length of a feature vector."""


@dataclass(frozen=True)
class Pixels:
    """How a network wants its pictures: geometry, and the mean and deviation of its channels [1, 3, 1, 1]."""

    geometry: Geometry
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, steps: Sequence[Any], settings: Mapping[str, Any], device: torch.device) -> Pixels:
        """From the steps of a torchvision transform and from its settings size, mean and std."""
        *before, to_tensor, normalize = steps
        names = (type(to_tensor).__name__, type(normalize).__name__)
        if names != ("MaybeToTensor", "Normalize"):
            raise TypeError(f"expected a preprocessing that ends with MaybeToTensor and Normalize, found {names}")
        size = settings["size"]
        geometry = Geometry(tuple(before), size if isinstance(size, int) else max(size))
        mean, std = (torch.tensor(settings[key], dtype=torch.float32, device=device) for key in ("mean", "std"))
        return cls(geometry, mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1))

    def normalised(self, pictures: Tensor) -> Tensor:
        """The network's input [batch, 3, height, width] float32 of ``pictures`` [batch, height, width, 3] uint8.

        Computes the same as torchvision's ToTensor and Normalize, for a whole batch and on the device of the network.
        """
        pictures = pictures.to(self.mean.device, non_blocking=True).permute(0, 3, 1, 2)
        scaled = pictures.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        return scaled.sub_(self.mean).div_(self.std)


def arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    """Context in which a network computes in its precision."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def digest_of(network: Any) -> str:
    """SHA-256 (hex) of the names and values of all tensors of a network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def text_digest(*texts: str) -> str:
    """SHA-256 (hex) of some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 (hex) of a tokenizer of transformers, whatever it was asked to pad and cut."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        return text_digest(json.dumps(sorted(tokenizer.get_vocab().items())))
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return text_digest(json.dumps(state | {"padding": None, "truncation": None}, sort_keys=True))


def one_line(error: Exception) -> str:
    """The beginning of an error of another library, for a message."""
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
