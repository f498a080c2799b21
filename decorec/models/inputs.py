"""The input files of a model besides the sequences; reads them as the model's constant tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decorec.artifacts.files import by_stem, read_arrays, read_sparse
from decorec.artifacts.seal import digest_in
from decorec.config.runs import Run
from decorec.data.graph import normalise
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.models.at_once import FEATURES
from decorec.models.item_data import ItemData, MappedRows

__all__ = ["ModelInputs", "mapped_rows"]


@dataclass(frozen=True)
class ModelInputs:
    """Files by content; a run reads those that its model needs, the others may be missing.

    ``features`` and ``interests``: modality -> file. ``cooccurrence``: the matrix (.npz). Another modality is one more
    file.
    """

    features: Mapping[str, Path] = field(default_factory=dict)
    interests: Mapping[str, Path] = field(default_factory=dict)
    cooccurrence: Path | None = None

    @classmethod
    def of(cls, features: Sequence[Path], interests: Sequence[Path], cooccurrence: Path | None) -> ModelInputs:
        """From the input files of a step; the stem of a file name is its modality.

        Raises:
            DecorecError: two files have the same stem.
        """
        return cls(by_stem(features), by_stem(interests), cooccurrence)

    def item_data(self, run: Run, stage: str, items: Sequence[str]) -> ItemData:
        """Read what the model of ``run`` needs in ``stage``.

        Args:
            run: its model decides what is needed, and how the graph is normalised.
            stage: ``stage1``, ``stage2`` or ``fit``.
            items: ids in the order of their index.

        Raises:
            DecorecError: a needed file is missing, or does not fit the list of items.
        """
        tensors: dict[str, Tensor] = {}
        mapped: dict[str, MappedRows] = {}
        for need in run.needs(stage):
            tensors |= self._read(need, items, run, stage, mapped)
        return ItemData(len(items), tensors, mapped)

    def _read(
        self, need: str, items: Sequence[str], run: Run, stage: str, mapped: dict[str, MappedRows]
    ) -> dict[str, Tensor]:
        """The tensors of ``need``; what stays in its file is added to ``mapped``."""
        kind, _, modality = need.partition(".")
        holder = "interests" if kind == "centroids" else kind
        path = self.cooccurrence if kind == "graph" else getattr(self, holder).get(modality)
        if path is None:
            flag = "--cooccurrence" if kind == "graph" else f"--{holder}"
            what = "the co-occurrence matrix" if kind == "graph" else f"the file {modality}.safetensors"
            raise DecorecError(f"{stage} of {run.model.name}: expected {what} at {flag}, found none; pass it")
        if kind == "features":
            file = FeatureFile.read(path, mapped=True)
            if run.train.stage(stage).negatives != "all" and len(items) * file.x.shape[1] > FEATURES:
                mapped[need] = mapped_rows(path, file, items)
                return {f"present.{modality}": torch.from_numpy(file.present[mapped[need].rows.numpy()])}
            x, present = file.aligned(items)
            return {need: torch.from_numpy(x), f"present.{modality}": torch.from_numpy(present)}
        if kind == "interests":
            assignment = read_arrays(path)[0]["assignment"]
            _expect(path, len(assignment), len(items))
            return {need: torch.from_numpy(assignment)}
        if kind == "centroids":
            return {need: torch.from_numpy(read_arrays(path)[0]["centroids"])}
        matrix = normalise(read_sparse(path), run.normalisation)
        _expect(path, matrix.shape[0], len(items))
        return {
            "graph.crow": torch.from_numpy(matrix.indptr.astype(np.int32)),
            "graph.col": torch.from_numpy(matrix.indices.astype(np.int32)),
            "graph.values": torch.from_numpy(matrix.data.astype(np.float32)),
        }


def mapped_rows(path: Path, file: FeatureFile, items: Sequence[str]) -> MappedRows:
    """Features of ``items`` that stay in their ``file``, which was read with ``mapped``.

    Raises:
        DecorecError: an item has no row in the file.
    """
    return MappedRows(torch.from_numpy(file.x), torch.from_numpy(file.rows_of(items)), path, digest_in(path))


def _expect(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise DecorecError(f"{path}: expected rows for {expected} items, found {found}; run its step again")
