"""What trainings show, one value per seed: the best epochs of ids and of modalities, and the first gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.gradients import FIRST, GRADIENTS

__all__ = ["COSINES", "Trainings", "read_trainings"]

Floats = npt.NDArray[np.float64]
COSINES = ("cosine", "cosine_apart")


@dataclass(frozen=True)
class Trainings:
    """Of one data set, seeds in ascending order."""

    ids: list[float] = field(default_factory=list)
    """Best epoch, from 1, of the baseline, which has ids alone."""
    modalities: list[float] = field(default_factory=list)
    """The same of a stage 1, which has modalities alone."""
    cosines: dict[str, list[Floats]] = field(default_factory=dict)
    """Run -> cosines of its first steps, [2, FIRST], in the order of ``COSINES``; NaN where there is none."""


def read_trainings(histories: Sequence[Path], gradients: Sequence[Path], baseline: str) -> dict[str, Trainings]:
    """Data set -> what its trainings show.

    Args:
        histories: DATASET/runs/RUN/seed-N/STAGE/history.parquet: of the run ``baseline``, and of stages 1.
        gradients: DATASET/runs/RUN/seed-N/gradients.parquet.
        baseline: the run that has ids alone.

    Raises:
        DecorecError: a file is missing, has another path or lacks a column.
    """
    found: dict[str, Trainings] = {}
    for place, file in sorted(((layout.place(file, layout.HISTORY), file) for file in histories), key=_seed):
        history = read_table(file, {"epoch": pl.Int64, "best": pl.Boolean})
        best = float(history.filter(pl.col("best"))["epoch"].item() + 1)
        trainings = found.setdefault(place.dataset, Trainings())
        if place.run == baseline:
            trainings.ids.append(best)
        elif place.stage == "stage1":
            trainings.modalities.append(best)
    for place, file in sorted(((layout.place(file, layout.GRADIENTS), file) for file in gradients), key=_seed):
        frame = read_table(file, GRADIENTS).filter(pl.col("step") < FIRST)
        cosines = np.full((len(COSINES), FIRST), np.nan)
        cosines[:, frame["step"].to_numpy()] = frame.select(pl.col(*COSINES).fill_null(np.nan)).to_numpy().T
        found.setdefault(place.dataset, Trainings()).cosines.setdefault(place.run, []).append(cosines)
    return found


def _seed(entry: tuple[layout.Place, Path]) -> int:
    return entry[0].seed
