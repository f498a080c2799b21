"""Texts encoded by a model of sentence-transformers.

Prompt, maximum length, pooling and normalisation are those of the model's own configuration.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.config.features import FOLDER
from decorec.errors import DecorecError
from decorec.features.decode import Batch
from decorec.features.encoder import (
    LOADING_ERRORS,
    Modality,
    Precision,
    arithmetic,
    digest_of,
    one_line,
    text_digest,
    tokenizer_digest,
)
from decorec.processor import pinned

__all__ = ["Sentences", "load_sentences"]

log = logging.getLogger("decorec")
KEY = "features.text_model"
SHORTEST = 16
"""Tokens that a text is filled up to at least; a longer one to the next power of two, or to the model's maximum."""
ERRORS = (*LOADING_ERRORS, TypeError, AttributeError)
"""Errors raised when models are fetched and read; some for a configuration that is not as the package expects it."""


class Tokens:
    """Texts -> tokens [batch, fields, length] int64, in parts by length: few of the tokens are padding then."""

    portable = False
    """The model prepares its own inputs."""

    def __init__(self, texts: Sequence[str], model: Any) -> None:
        self._texts, self._model = list(texts), model
        self._prompt = model.prompts.get(model.default_prompt_name) or ""
        lengths = self._lengths()
        longest = model.max_seq_length or np.inf
        self._cut = lengths > longest
        powers = 2 ** np.ceil(np.log2(np.maximum(lengths, SHORTEST)))
        self._sizes: npt.NDArray[np.int64] = np.minimum(powers, longest).astype(np.int64)
        sizes = np.unique(self._sizes)
        self.parts: list[npt.NDArray[np.int64]] = [
            np.flatnonzero(self._sizes == size).astype(np.int64) for size in sizes
        ]
        self._order = np.concatenate(self.parts) if self.parts else np.zeros(0, np.int64)

    def _lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, none of them cut."""
        if not self._texts:
            return np.zeros(0, np.int64)
        tokens = self._model.tokenizer([self._prompt + text for text in self._texts], truncation=False, verbose=False)
        return np.array([len(row) for row in tokens["input_ids"]], dtype=np.int64)

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Tokenise texts start to stop, which are of one length."""
        rows = self._order[start:stop]
        filled = {"text": {"padding": "max_length", "max_length": int(self._sizes[rows[0]])}}
        found = self._model.preprocess(
            [self._texts[row] for row in rows], prompt=self._prompt or None, processing_kwargs=filled
        )
        return Batch(torch.stack([found[name] for name in fields(found)], 1), self._cut[rows])


def fields(features: Mapping[str, Any]) -> list[str]:
    """Names of the tensors of a batch, in a fixed order."""
    return sorted(name for name, value in features.items() if isinstance(value, Tensor) and value.ndim == 2)


@dataclass(frozen=True)
class Sentences:
    """A model of sentence-transformers in evaluation mode. Its vectors have the length that the model gives them."""

    model: Any
    device: torch.device
    precision: Precision
    metadata: dict[str, str]
    constant: dict[str, Any]
    """What the model takes besides the tensors of a batch."""
    names: list[str]

    def source(self, modality: Modality, values: Sequence[Any]) -> Tokens:
        """Tokens of texts."""
        return Tokens(values, self.model)

    @torch.inference_mode()
    def encode(self, modality: Modality, batch: Tensor) -> Tensor:
        """Features of tokens [batch, fields, length]."""
        batch = batch.to(self.device)
        inputs = {name: batch[:, index].contiguous() for index, name in enumerate(self.names)}
        with arithmetic(self.device, self.precision):
            features: Tensor = self.model({**inputs, **self.constant})["sentence_embedding"]
        return features[:, : self.model.truncate_dim].float()

    def width(self, modality: Modality) -> int:
        """Length of a feature vector."""
        source = self.source("text", ["text"])
        return int(self.encode("text", source.prepare(0, 1, 1).inputs).shape[1])


def load_sentences(model: str, weights: str, precision: Precision, device: torch.device) -> Sentences:
    """Load a model. No code of its repository is run.

    Args:
        model: a name of the Hugging Face hub, or local-dir: and a folder that sentence-transformers has saved.
        weights: where to find it in place of ``model``; "": there.
        precision: arithmetic.
        device: where it computes.

    Raises:
        DecorecError: the model cannot be fetched or read, or it is of another kind.
        ModuleNotFoundError: the package is not installed (errors.py words it).
    """
    from sentence_transformers import SentenceTransformer

    model = weights or model
    place = model.removeprefix(FOLDER)
    if model.startswith(FOLDER) and not Path(place).is_dir():
        raise DecorecError(f"{KEY}: expected a folder of sentence-transformers, found no folder {place}")
    log.info("features: loading %s, %s on %s", model, precision, device.type)
    _expect_known_modules(model)
    quiet = logging.getLogger("sentence_transformers"), logging.getLogger("transformers")
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        network: Any = SentenceTransformer(
            place,
            device=device.type,
            local_files_only=model.startswith(FOLDER),
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except ERRORS as error:
        raise _explained(model, error) from error
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    kinds = getattr(network[0], "modality_config", {})
    if "text" not in kinds or "message" in kinds or network.tokenizer is None:
        raise DecorecError(
            f"{KEY}: expected a model that begins with a transformer over texts, found {type(network[0]).__name__} in "
            f"{model}; choose another model, or encode the texts yourself and name the file of vectors in features.text"
        )
    network.eval().requires_grad_(False)
    prompt = network.prompts.get(network.default_prompt_name) or None
    sample = network.preprocess(["text"], prompt=prompt)
    names = fields(sample)
    constant = {name: value for name, value in sample.items() if name not in names}
    return Sentences(network, device, precision, _identity(network, model, precision, device), constant, names)


def _identity(network: Any, model: str, precision: Precision, device: torch.device) -> dict[str, str]:
    import sentence_transformers
    import transformers

    own = {key: value for key, value in network[0].config.to_dict().items() if key not in VOLATILE}
    rest = [network.prompts, network.default_prompt_name, network.max_seq_length, network.truncate_dim]
    return {
        "model": Path(model.removeprefix(FOLDER)).name if model.startswith(FOLDER) else model,
        "weights": model,
        "weights_sha256": digest_of(network),
        "tokenizer_sha256": tokenizer_digest(network.tokenizer),
        "configuration_sha256": text_digest(repr(network), json.dumps([own, rest], sort_keys=True, default=str)),
        "context_length": str(network.max_seq_length),
        "precision": precision,
        "device": device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentence_transformers": sentence_transformers.__version__,
        "reproducible": str(pinned()).lower(),
    }


VOLATILE = ("_name_or_path", "transformers_version")
"""Of a configuration: on which no vector depends."""


def _expect_known_modules(model: str) -> None:
    """Refuse a model that names code of its own, which some versions of the package would run from a folder.

    Without a list of modules the package would guess the pooling.
    """
    if model.startswith(FOLDER):
        file = Path(model.removeprefix(FOLDER)) / "modules.json"
    else:
        from huggingface_hub import hf_hub_download

        repository = model if "/" in model else f"sentence-transformers/{model}"
        try:
            file = Path(str(hf_hub_download(repository, "modules.json")))
        except ERRORS as error:
            raise _explained(model, error) from error
    modules: Any = None
    with suppress(OSError, ValueError):
        modules = json.loads(file.read_text(encoding="utf-8"))
    types = [module.get("type") for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    if not types:
        raise DecorecError(
            f"{KEY}: expected a model that sentence-transformers has saved, with modules.json, found none in {model}; "
            "choose one that is published for sentence-transformers, or save it with that package"
        )
    foreign = [kind for kind in types if not str(kind).startswith("sentence_transformers.")]
    if foreign:
        raise DecorecError(
            f"{KEY}: expected modules of the package sentence-transformers, found {foreign[0]!r} in {model}, which is "
            "code of the model's own and is not run; choose another model, or encode the texts yourself and name the "
            "file of vectors in features.text"
        )


def _explained(model: str, error: Exception) -> DecorecError:
    reason = one_line(error)
    if model.startswith(FOLDER):
        return DecorecError(
            f"{KEY}: expected a model of sentence-transformers in {model.removeprefix(FOLDER)}, with its weights as "
            f"model.safetensors, found: {reason}; copy its whole repository there again"
        )
    repository = model if "/" in model else f"sentence-transformers/{model}"
    return DecorecError(
        f"{KEY}: expected to fetch {model}, found: {reason}; correct the name, or copy all files of the Hugging Face "
        f"repository {repository} into a folder on a machine with network access, and set {KEY} to {FOLDER}<folder>"
    )
