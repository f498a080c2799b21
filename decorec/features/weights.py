"""Finds the weights of an encoder, and explains why they cannot be loaded."""

from __future__ import annotations

import difflib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg

from decorec.config.features import FOLDER
from decorec.errors import DecorecError
from decorec.features.encoder import one_line

__all__ = ["HUB", "KEYS", "Weights", "locate"]

log = logging.getLogger("decorec")
NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Numbers that OpenAI's archives hold among their tensors."""
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
HUB = "hf-hub:"
KEYS = ("model", "weights")
"""Keys of the section features for the encoder of pictures and texts."""


@dataclass(frozen=True)
class Weights:
    """Weights in the form that open_clip's loader takes.

    ``pretrained``: tag, path or None (the model name includes its weights). ``local``: whether they are files on this
    machine. ``settings``: preprocessing and activation that belong to them. ``keys``: of the section features, that
    name the model and its weights.
    """

    model: str
    pretrained: str | None
    local: bool = False
    keys: tuple[str, str] = KEYS
    settings: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def loadable(self) -> Iterator[str | None]:
        """What open_clip is given to load, with pickles of anything but tensors refused: ``pretrained``.

        torch refuses TorchScript archives there. Their tensors are read by torch.jit, which unpickles no Python
        objects, and put into a temporary file of plain tensors.
        """
        if not self.local or self.pretrained is None or not _is_torchscript(self.pretrained):
            yield self.pretrained
            return
        tensors = torch.jit.load(self.pretrained, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "weights.pt"
            torch.save({name: tensor for name, tensor in tensors.items() if name not in NO_WEIGHTS}, plain)
            yield str(plain)

    def explain(self, error: Exception) -> DecorecError:
        """The message for weights that could not be loaded."""
        reason, (key, weights) = one_line(error), self.keys
        instead = "features.encoder to fit" if self.keys == KEYS else "features.text to lsa"
        if self.local:
            return DecorecError(
                f"features.{weights}: expected weights of {self.model} in {self.pretrained or 'its folder'}, found "
                f"a file that does not fit ({reason}); set features.{key} to the model that the file belongs to, or "
                "get the right file"
            )
        if self.pretrained is None:
            return DecorecError(
                f"features.{key}: expected to fetch {self.model}, found: {reason}; copy the repository into a folder "
                f"on a machine with network access, and set features.{key} to {FOLDER}<folder>"
            )
        where, name = _origin(self.model, self.pretrained)
        tokenizer = (open_clip.get_model_config(self.model) or {}).get("text_cfg", {}).get("hf_tokenizer_name")
        if tokenizer:
            return DecorecError(
                f"features.{weights}: expected to fetch the weights {self.pretrained!r} of {self.model}, found: "
                f"{reason}.\nOn a machine with network access get the file {where}, open_clip_config.json beside it,\n"
                f"and the tokenizer (tokenizer.json, tokenizer_config.json of {tokenizer}); put all into one folder, "
                f"and set\n  features:\n    {key}: {FOLDER}<folder>\n"
                f"in the configuration; or set {instead}, which needs no weights."
            )
        return DecorecError(
            f"features.{weights}: expected to fetch the weights {self.pretrained!r} of {self.model}, found: {reason}.\n"
            f"Get the file {where} on a machine with network access, put it at weights/{name} (or anywhere), and set\n"
            f"  features:\n    {key}: {self.model}\n    {weights}: weights/{name}\n"
            f"in the configuration; or set {instead}, which needs no weights."
        )


def locate(model: str, weights: str, keys: tuple[str, str] = KEYS) -> Weights:
    """Resolve ``weights``: a tag of ``model``, or the path of a local file; ``keys`` name them in the configuration.

    Raises:
        DecorecError: open_clip has no such model, or the value is neither a tag nor a file.
    """
    if model.startswith(FOLDER):
        _expect_folder(Path(model.removeprefix(FOLDER)), keys[0])
        return Weights(model, None, True, keys)
    if model.startswith(HUB):
        return Weights(model, None, False, keys)
    if model not in open_clip.list_models():
        similar = difflib.get_close_matches(model, open_clip.list_models(), n=5, cutoff=0.4)
        raise DecorecError(
            f"features.{keys[0]}: expected a model name of open_clip, found {model!r}; similar names: "
            f"{', '.join(similar) or 'none'}"
        )
    published = get_pretrained_cfg(model, weights)
    if published:
        return Weights(model, weights, False, keys, _settings(published))
    path = Path(weights)
    if path.is_file():
        return Weights(model, weights, True, keys, _settings_of_file(model, path.name))
    raise DecorecError(
        f"features.{keys[1]}: expected a weights tag of {model} or the path of a weights file, found {weights!r}, "
        f"which is neither; tags: {', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}"
    )


def _origin(model: str, tag: str) -> tuple[str, str]:
    """Where the file of a tag is published, and a name to store it under."""
    published = get_pretrained_cfg(model, tag)
    if published.get("url"):
        return published["url"], Path(published["url"]).name
    repository, _, file = published["hf_hub"].rpartition("/")
    suffix = Path(file).suffix or ".safetensors"
    return f"{file or 'open_clip_model.safetensors'} of the Hugging Face repository {repository}", f"{model}{suffix}"


def _settings(published: Mapping[str, Any]) -> dict[str, Any]:
    """What open_clip knows about published weights, as arguments of its loader.

    The activation is one of them: when weights trained with QuickGELU are loaded into a model without it, open_clip
    only warns, and the features are wrong.
    """
    settings = {f"image_{key}": published[key] for key in PREPROCESSING if key in published}
    return settings | {"force_quick_gelu": bool(published.get("quick_gelu", False))}


def _settings_of_file(model: str, file: str) -> dict[str, Any]:
    """Settings for a local file, which does not contain them.

    They are those of the tag that publishes a file of this name, otherwise those on which all tags of the model agree.
    Where the tags differ, open_clip's default is used.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    known = [get_pretrained_cfg(model, tag) for tag in tags]
    named = [one for one in known if file in (Path(one.get("url", "")).name, Path(one.get("hf_hub", "")).name)]
    choices = [_settings(one) for one in named or known]
    if not choices:
        return {}
    agreed = {key: value for key, value in choices[0].items() if all(choice.get(key) == value for choice in choices)}
    if len(agreed) < len(choices[0]):
        differing = ", ".join(sorted(set(choices[0]) - set(agreed)))
        log.warning("features: the published weights of %s differ in %s; taking open_clip's default", model, differing)
    return agreed


def _expect_folder(folder: Path, key: str) -> None:
    if not folder.is_dir():
        raise DecorecError(
            f"features.{key}: expected a folder with open_clip_config.json and weights, found no folder {folder}"
        )


def _is_torchscript(path: str) -> bool:
    """Whether torch itself takes the file for a TorchScript archive, as OpenAI publishes its models.

    The question is put to torch's own reader: an archive that only looks like one would be unpickled.
    """
    try:
        return "constants.pkl" in torch._C.PyTorchFileReader(path).get_all_records()
    except RuntimeError:  # not an archive of torch at all
        return False
