"""The training steps: stage 1 and stage 2 of DeCoRec, and the only stage of the other models."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decorec.models import checkpoint
from decorec.artifacts.files import read_arrays, read_sparse, write_table
from decorec.config.runs import Run
from decorec.errors import DecorecError
from decorec.data.item_features import FeatureFile
from decorec.data.graph import normalise
from decorec.models.base import Recommender
from decorec.models.item_data import Catalogue
from decorec.models.registry import build
from decorec.data.sequences import Sequences, read_vocab
from decorec.training.loop import train

__all__ = ["fit", "prepare", "read_catalogue", "stage1", "stage2"]

log = logging.getLogger("decorec")


def stage1(
    *,
    run: Run,
    seed: int,
    vocab: Path,
    sequences: Path,
    text_features: Path | None = None,
    image_features: Path | None = None,
    cooccurrence: Path | None = None,
    model: Path,
    history: Path,
    config: Path,
    threads: int = 1,
) -> None:
    """Train DeCoRec's stage 1, modality-centric stabilisation: adapters and transformer on modal data alone."""
    torch.set_num_threads(threads)
    items = read_vocab(vocab)
    catalogue = read_catalogue(run, "stage1", items, text_features, image_features, cooccurrence, None, None)
    _train(run, "stage1", seed, catalogue, items, Sequences.read(sequences), None, model, history, config)


def stage2(
    *,
    run: Run,
    seed: int,
    vocab: Path,
    sequences: Path,
    text_features: Path | None = None,
    image_features: Path | None = None,
    cooccurrence: Path | None = None,
    text_interests: Path | None = None,
    image_interests: Path | None = None,
    start: Path,
    start_config: Path,
    model: Path,
    history: Path,
    config: Path,
    threads: int = 1,
) -> None:
    """Train DeCoRec's stage 2, collaborative-semantic fusion, from the weights of stage 1 (``start``)."""
    torch.set_num_threads(threads)
    items = read_vocab(vocab)
    catalogue = read_catalogue(
        run, "stage2", items, text_features, image_features, cooccurrence, text_interests, image_interests
    )
    first = checkpoint.load_for(vocab, start, start_config)
    _train(
        run,
        "stage2",
        seed,
        catalogue,
        items,
        Sequences.read(sequences),
        first.model.state_dict(),
        model,
        history,
        config,
    )


def fit(
    *,
    run: Run,
    seed: int,
    vocab: Path,
    sequences: Path,
    text_features: Path | None = None,
    image_features: Path | None = None,
    cooccurrence: Path | None = None,
    text_interests: Path | None = None,
    image_interests: Path | None = None,
    model: Path,
    history: Path,
    config: Path,
    threads: int = 1,
) -> None:
    """Train a model that has only one stage."""
    torch.set_num_threads(threads)
    items = read_vocab(vocab)
    catalogue = read_catalogue(
        run, "fit", items, text_features, image_features, cooccurrence, text_interests, image_interests
    )
    _train(run, "fit", seed, catalogue, items, Sequences.read(sequences), None, model, history, config)


def prepare(run: Run, stage: str, seed: int, catalogue: Catalogue, start: dict[str, Tensor] | None) -> Recommender:
    """The run's model before training in ``stage``, on the device to train on.

    Args:
        seed: of the fresh parameters.
        start: state of the stage before; None in the first.
    """
    torch.manual_seed(seed)
    model = build(run.model, catalogue, stage)
    if start is not None:
        model.start_from(start)
    return model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def read_catalogue(
    run: Run,
    stage: str,
    items: list[str],
    text_features: Path | None,
    image_features: Path | None,
    cooccurrence: Path | None,
    text_interests: Path | None,
    image_interests: Path | None,
) -> Catalogue:
    """What the run's model needs in ``stage``, from the files that hold it; files that it does not need may be None.

    Raises:
        DecorecError: a needed file is missing, or does not fit the list of items.
    """
    files = {
        "features.text": text_features,
        "features.image": image_features,
        "interests.text": text_interests,
        "interests.image": image_interests,
        "graph": cooccurrence,
    }
    tensors: dict[str, Tensor] = {}
    for need in run.needs(stage):
        path = files[need]
        if path is None:
            raise DecorecError(f"{stage} of {run.model.name}: expected a file for {need}, found none; give its flag")
        tensors |= _read(need, path, items, run)
    return Catalogue(len(items), tensors)


def _read(need: str, path: Path, items: list[str], run: Run) -> dict[str, Tensor]:
    kind, _, modality = need.partition(".")
    if kind == "features":
        x, present = FeatureFile.read(path).aligned(items)
        return {need: torch.from_numpy(x), f"present.{modality}": torch.from_numpy(present)}
    if kind == "interests":
        assignment = read_arrays(path)[0]["assignment"]
        _expect(path, len(assignment), len(items))
        return {need: torch.from_numpy(assignment)}
    matrix = normalise(read_sparse(path), getattr(run.model, "normalisation", "symmetric"))
    _expect(path, matrix.shape[0], len(items))
    return {
        "graph.crow": torch.from_numpy(matrix.indptr.astype(np.int32)),
        "graph.col": torch.from_numpy(matrix.indices.astype(np.int32)),
        "graph.values": torch.from_numpy(matrix.data.astype(np.float32)),
    }


def _expect(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise DecorecError(f"{path}: expected rows for {expected} items, found {found}; run its step again")


def _train(
    run: Run,
    stage: str,
    seed: int,
    catalogue: Catalogue,
    items: list[str],
    sequences: Sequences,
    start: dict[str, Tensor] | None,
    model_file: Path,
    history_file: Path,
    config_file: Path,
) -> None:
    model = prepare(run, stage, seed, catalogue, start)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.info("%s: %d trainable parameters, %d items, %d users", stage, count, len(items), len(sequences.users))
    history = train(model, sequences, run.train.stage(stage), seed, f"{run.model.name} {stage} seed {seed}")
    checkpoint.save(model, run, seed, items, model_file, config_file)
    write_table(history_file, history)
