"""Where the weights of an encoder come from, and what to say when they cannot be had."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import get_pretrained_cfg

from decorec.errors import DecorecError

__all__ = ["Weights", "locate"]

log = logging.getLogger("decorec")
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
SCHEMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class Weights:
    """Weights as open_clip's loader takes them.

    ``pretrained``: tag, path or None (the model name brings its weights). ``weights_only``: refuse anything but plain
    tensors. ``preprocessing``: what a local file does not say itself. ``sha256`` of a local file, else empty.
    """

    model: str
    pretrained: str | None
    weights_only: bool = True
    sha256: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def explain(self, error: Exception) -> DecorecError:
        """The message for weights that could not be loaded."""
        reason = " ".join(str(error).split())[:400]
        if self.sha256:
            return DecorecError(
                f"features.weights: expected weights of {self.model} in {self.pretrained}, found a file that does not "
                f"fit ({reason}); set features.model to the model that the file belongs to, or get the right file"
            )
        where, name = _origin(self.model, self.pretrained)
        return DecorecError(
            f"features.weights: expected to fetch the weights {self.pretrained!r} of {self.model}, found: {reason}.\n"
            f"Get the file {where} on a machine that can, put it at weights/{name} (or anywhere), and set\n"
            f"  features:\n    model: {self.model}\n    weights: weights/{name}\n"
            "in the configuration; or set features.encoder to fit, which needs no weights."
        )


def locate(model: str, weights: str) -> Weights:
    """Resolve ``features.weights``: a tag of ``model``, or the path of a local file.

    Raises:
        DecorecError: open_clip has no such model, or the value is neither a tag nor a file.
    """
    if model.startswith(SCHEMES):
        return Weights(model, None)
    if model not in open_clip.list_models():
        similar = [name for name in open_clip.list_models() if name.lower()[:5] == model.lower()[:5]]
        raise DecorecError(
            f"features.model: expected a model name of open_clip, found {model!r}; similar names: "
            f"{', '.join(similar[:12]) or 'none'}"
        )
    if get_pretrained_cfg(model, weights):
        return Weights(model, weights)
    path = Path(weights)
    if path.is_file():
        return Weights(model, weights, not _is_torchscript(path), _digest(path), _preprocessing(model, path.name))
    raise DecorecError(
        f"features.weights: expected a weights tag of {model} or the path of a weights file, found {weights!r}, which "
        f"is neither; tags: {', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}"
    )


def _origin(model: str, tag: str | None) -> tuple[str, str]:
    """Where the file of a tag is published, and a name to store it under."""
    published = get_pretrained_cfg(model, tag) if tag else {}
    if published.get("url"):
        return published["url"], Path(published["url"]).name
    repository, _, file = published.get("hf_hub", model.removeprefix(SCHEMES[0]) + "/").rpartition("/")
    suffix = Path(file).suffix or ".safetensors"
    return f"{file or 'open_clip_model.safetensors'} of the Hugging Face repository {repository}", f"{model}{suffix}"


def _preprocessing(model: str, file: str) -> dict[str, Any]:
    """Mean, deviation, interpolation and resize mode for a local file, which does not hold them.

    open_clip knows them per published tag: those of the tag that publishes a file of this name, else those that all
    tags of the model agree on, else open_clip's defaults.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    known = [get_pretrained_cfg(model, tag) for tag in tags]
    named = [one for one in known if file in (Path(one.get("url", "")).name, Path(one.get("hf_hub", "")).name)]
    choices = [{key: one[key] for key in PREPROCESSING if key in one} for one in named or known]
    if not choices:
        return {}
    if any(choice != choices[0] for choice in choices):
        log.warning("features: the published weights of %s differ in preprocessing; using open_clip's defaults", model)
        return {}
    return choices[0]


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive, as OpenAI publishes its models; torch reads those by other means."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
