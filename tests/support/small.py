"""A small world for tests: sequences with structure, features and a graph, and models over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decorec.artifacts.files import write_arrays, write_sparse
from decorec.config.runs import Run, resolve
from decorec.data.graph import normalise
from decorec.data.item_features import FeatureFile
from decorec.data.parts import by_time as parts_by_time
from decorec.data.sequences import Sequences, write_vocab
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.registry import build
from decorec.prepare.cooccurrence import count_pairs

FLOORS = ("popularity", "item-knn", "content-knn", "hybrid-knn", "ease", "content-ease", "vstan")
"""Models without parameters."""
TINY: dict[str, Any] = {"dim": 16, "encoder": {"dropout": 0.0, "feed_forward": 24, "heads": 2}}
TINY_OF: dict[str, dict[str, Any]] = {
    "unisrec": {**TINY, "adaptor_dropout": 0.0},
    "missrec": {"dim": 16, "heads": 2, "feed_forward": 24, "dropout": 0.0},
    "mmmlp": {"dim": 16, "sequence_hidden": 24, "dropout": 0.0},
    "dimo": {"dim": 16, "heads": 2, "neighbours": 3, "dropout": 0.0, "attention_dropout": 0.0},
    "esasrec": {"dim": 16, "heads": 2, "expansion": 2, "dropout": 0.0},
    "gru4rec": {"dim": 16, "dropout": 0.0},
    **{name: {} for name in FLOORS},
}
"""Small sections without dropout; models that are not here have ``TINY``."""


def sequences(users: int = 60, items: int = 40, seed: int = 0, shortest: int = 5, longest: int = 12) -> Sequences:
    """Random walks on a ring of items, so that there is something to learn, with times in whole hours."""
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, users)
    walks = [(random.integers(items) + np.cumsum(random.integers(1, 3, n))) % items for n in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = [f"u{number}" for number in range(users)]
    times = [random.integers(1000) + np.cumsum(random.integers(0, 200, n)) for n in lengths]
    seconds = 1_500_000_000 + 3600 * np.concatenate(times)
    return Sequences(names, offsets, np.concatenate(walks).astype(np.int32), seconds)


def by_time(data: Sequences, items: int = 40) -> Sequences:
    """The same users, each from a day of their own on, divided by time; three come late, some items come late alone."""
    first = np.random.default_rng(0).integers(0, 20, len(data.users))
    first[-3:] = 30
    times = np.repeat(first, data.lengths) + np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths)
    late = times > np.quantile(times, 0.8)
    walks = np.where(late & (data.items % 3 == 0), items - 1 - data.items % 4, data.items % (items - 4))
    parts = parts_by_time(data.offsets, times, 0.8)
    return Sequences(data.users, data.offsets, walks.astype(np.int32), times, parts)


def item_data(data: Sequences, run: Run, items: int = 40, width: int = 12, seed: int = 0) -> ItemData:
    """Features, interests and graph of the small world: of text and image, and of what else the run names."""
    random = np.random.default_rng(seed)
    graph = count_pairs(data.training(), items, run.graph)
    matrix = normalise(graph, run.normalisation)
    tensors = {
        "graph.crow": torch.from_numpy(matrix.indptr.astype(np.int32)),
        "graph.col": torch.from_numpy(matrix.indices.astype(np.int32)),
        "graph.values": torch.from_numpy(matrix.data.astype(np.float32)),
    }
    for name in dict.fromkeys(("text", "image", *getattr(run.model, "modalities", ()))):
        tensors[f"features.{name}"] = torch.from_numpy(random.normal(size=(items, width)).astype(np.float32))
        tensors[f"interests.{name}"] = torch.from_numpy(random.integers(0, 5, items))
    for need in [need for stage in run.stages for need in run.needs(stage) if need.startswith("centroids.")]:
        tensors[need] = torch.from_numpy(random.normal(size=(5, width)).astype(np.float32))
    return ItemData(items, tensors)


def files(folder: Path, data: Sequences, run: Run, items: int = 40) -> dict[str, Any]:
    """What ``item_data`` holds, and the sequences, as the files of a training step, by the names of its arguments."""
    known, names = item_data(data, run, items), [f"item {number}" for number in range(items)]
    found: dict[str, Any] = {"vocab": folder / "vocab.parquet", "sequences": folder / "sequences.parquet"}
    write_vocab(found["vocab"], names)
    data.write(found["sequences"])
    found |= {"features": [], "interests": [], "cooccurrence": folder / "cooccurrence.npz"}
    write_sparse(found["cooccurrence"], count_pairs(data.training(), items, run.graph))
    for name, tensor in known.tensors().items():
        kind, _, modality = name.partition(".")
        path = folder / kind / f"{modality}.safetensors"
        if kind == "features":
            FeatureFile(tensor.numpy(), np.ones(items, dtype=bool), names).write(path)
        elif kind == "interests":
            centroids = f"centroids.{modality}"
            more = {"centroids": known[centroids].numpy()} if centroids in known else {}
            write_arrays(path, {"assignment": tensor.numpy(), **more})
        if kind in found:
            found[kind].append(path)
    return found


def run(experts: Mapping[str, Any] | None = None, **model: Any) -> Run:
    """A run of DeCoRec (or ``name``) of small width, without dropout; ``experts`` is its section of that name."""
    tiny = TINY_OF.get(model.get("name", ""), TINY)
    train = {"epochs": 3, "patience": 3, "batch_size": 64}
    sections = {"model": tiny | model, "experts": experts or {}, "train": train}
    return resolve({}, "described", sections)


def model(data: Sequences, chosen: Run, stage: str, seed: int = 0, items: int = 40, width: int = 12) -> Recommender:
    """A freshly initialised model."""
    torch.manual_seed(seed)
    return build(chosen, item_data(data, chosen, items, width), stage)


def save(model: Recommender, chosen: Run, seed: int, items: list[str], weights: Path, config: Path) -> None:
    """A checkpoint whose items have 0, 1, 2, ... training interactions."""
    checkpoint.save(model, chosen, seed, items, np.arange(len(items)), weights, config)
