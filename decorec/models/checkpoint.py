"""Trained models on disk: weights, the item data they were trained with, and the configuration of the run.

model.safetensors holds weights (``model.*``), the tensors of the item data (``item_data.*``), the item ids (``items``,
utf-8, newline-joined) and the number of training interactions of each item (``counts``, int64); config.json the run,
stage, seed and versions. So a stage's folder is self-contained, but for features that are too large to be copied:
where these stayed in their file during training, model.safetensors has the row of each item in it
(``item_data.features.MODALITY.rows``), and in its metadata the path and the digest of the file.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, model_validator
from torch import Tensor

from decorec import __version__
from decorec.artifacts.files import read_arrays, write_arrays, write_json
from decorec.artifacts.layout import path_of, place_of, results_of
from decorec.artifacts.seal import digest_in
from decorec.config.runs import Run
from decorec.config.stored import read_stored
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import read_vocab
from decorec.errors import DecorecError
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData, MappedRows
from decorec.models.registry import build

__all__ = ["Checkpoint", "load", "load_for", "save", "versions"]


@dataclass(frozen=True)
class Checkpoint:
    """A model loaded from disk."""

    model: Recommender
    run: Run
    stage: str
    seed: int
    items: list[str]
    """Item ids in the order of their index."""
    counts: npt.NDArray[np.int64]
    """[I] number of training interactions of each item."""


class _Facts(BaseModel):
    """config.json, without the versions."""

    run: Run
    stage: str
    seed: int

    @model_validator(mode="after")
    def _stage_is_of_the_run(self) -> Self:
        if self.stage not in self.run.stages:
            raise ValueError(f"stage: expected one of {', '.join(self.run.stages)}, found {self.stage!r}")
        return self


def save(
    model: Recommender,
    run: Run,
    seed: int,
    items: list[str],
    counts: npt.NDArray[np.int64],
    weights: Path,
    config: Path,
) -> None:
    """Write ``weights`` (model.safetensors) and ``config`` (config.json).

    ``counts``: [I] number of training interactions of each item.
    """
    mapped = model.item_data.mapped
    arrays = {
        f"item_data.{name}": _array(model.item_data[name]) for name in model.item_data.names if name not in mapped
    }
    arrays |= {f"item_data.{name}.rows": _array(file.rows) for name, file in mapped.items()}
    arrays |= {f"model.{name}": _array(tensor) for name, tensor in model.own_state().items()}
    arrays["items"] = np.frombuffer("\n".join(items).encode(), dtype=np.uint8)
    arrays["counts"] = counts.astype(np.int64)
    # First, so that the weights say which configuration belongs to them.
    write_json(config, {"run": run.dump(), "stage": model.stage, "seed": seed, "versions": versions()})
    write_arrays(weights, arrays, {name: f"{file.digest} {_shown(file.path)}" for name, file in mapped.items()})


def _shown(path: Path) -> str:
    """From the folder of results/ on, where it lies in it."""
    return path_of(place_of(path)) if place_of(path) else str(path.absolute())


def versions() -> dict[str, str]:
    """Versions of what computes a model."""
    return {"decorec": __version__, "torch": torch.__version__, "python": platform.python_version()}


def load(weights: Path, config: Path) -> Checkpoint:
    """Rebuild a model from its two files.

    Raises:
        DecorecError: a file is missing or damaged, or the two do not belong together.
    """
    facts = read_stored(config, _Facts, "train the run again")
    arrays, metadata = read_arrays(weights)
    if not {"items", "counts"} <= arrays.keys():
        raise DecorecError(
            f"{weights}: expected weights with the ids of the items and their counts, found {sorted(arrays)[:5]}; "
            "train the run again"
        )
    items = arrays.pop("items").tobytes().decode(errors="replace").split("\n")
    counts = arrays.pop("counts")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    held = _within(tensors, "item_data.")
    mapped = {name: _mapped(weights, value, held.pop(f"{name}.rows"), name) for name, value in metadata.items()}
    item_data = ItemData(len(items), held, mapped)
    try:
        model = build(facts.run, item_data, facts.stage)
        model.load_state_dict(_within(tensors, "model."), strict=False)
        missing = set(model.own_state()) ^ set(_within(tensors, "model."))
    except (RuntimeError, KeyError) as error:
        raise DecorecError(
            f"{weights}: expected the weights that {config} describes, found {error}; train the run again"
        ) from error
    if missing:
        raise DecorecError(
            f"{weights}: expected the weights that {config} describes, found a difference in {sorted(missing)}; "
            "train the run again"
        )
    return Checkpoint(model.eval(), facts.run, facts.stage, facts.seed, items, counts)


def _mapped(weights: Path, named: str, rows: Tensor, name: str) -> MappedRows:
    """The features that ``weights`` names by digest and path, relative to the folder that holds results/.

    Raises:
        DecorecError: the file is missing or another one.
    """
    digest, _, path = named.partition(" ")
    place = results_of(weights)
    file = (place[0] if place else Path()) / path
    x = FeatureFile.read(file, mapped=True).x
    if (found := digest_in(file)) != digest:
        raise DecorecError(
            f"{file}: expected the {name} that {weights} was trained with (digest {digest}), found others (digest "
            f"{found}); put those back, or train the run again"
        )
    return MappedRows(torch.from_numpy(x), rows, file, digest)


def load_for(vocab: Path, weights: Path, config: Path) -> Checkpoint:
    """Like ``load``, for a model of the items in ``vocab`` (vocab.parquet).

    Raises:
        DecorecError: also if the model has other items.
    """
    found = load(weights, config)
    if found.items != read_vocab(vocab):
        raise DecorecError(f"{weights}: expected the items of {vocab}, found another list; train the run again")
    return found


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()
