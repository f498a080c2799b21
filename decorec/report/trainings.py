"""The trainings on the page: loss and a validation metric of every epoch, one small drawing for each run and stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table

__all__ = ["HEIGHT", "WIDTH", "Panel", "Training", "trainings"]

SHOWN = ("loss", "NDCG@10")
WIDTH, HEIGHT, EDGE = 240, 90, 4
"""Of a drawing, and how far its lines stay from the edge, in pixels."""


@dataclass(frozen=True)
class Panel:
    """One value by epoch."""

    name: str
    low: float
    high: float
    lines: list[str]
    """Points of each seed, as svg has them."""
    best: list[tuple[str, str]]
    """Where each seed has its best epoch."""


@dataclass(frozen=True)
class Training:
    """A stage of a run, over its seeds."""

    run: str
    stage: str
    epochs: int
    """Of the longest seed."""
    best: list[int]
    """Best epoch of each seed, from 1 on."""
    panels: list[Panel]


def trainings(histories: Iterable[Path]) -> dict[str, list[Training]]:
    """Data set -> its trainings, in the order of the files; a model that is not trained has none.

    Raises:
        DecorecError: a file is missing, has another path or lacks a column.
    """
    found: dict[str, list[Training]] = {}
    for (dataset, run, stage), files in groupby(histories, _whose):
        columns = {"epoch": pl.Int64, "best": pl.Boolean, **dict.fromkeys(SHOWN, pl.Float64)}
        seeds = [read_table(file, columns) for file in files]
        if all(seed["loss"].is_finite().fill_null(False).all() for seed in seeds):
            epochs = max(map(len, seeds))
            best = [1 + int(seed["best"].arg_max() or 0) for seed in seeds]
            panels = [_panel(name, [seed[name].to_list() for seed in seeds], best, epochs) for name in SHOWN]
            found.setdefault(dataset, []).append(Training(run, stage, epochs, best, panels))
    return found


def _whose(history: Path) -> tuple[str, str, str]:
    place = layout.place(history, layout.HISTORY)
    return place.dataset, place.run, place.stage


def _panel(name: str, seeds: Sequence[Sequence[float]], best: Sequence[int], epochs: int) -> Panel:
    low, high = min(map(min, seeds)), max(map(max, seeds))

    def point(epoch: int, value: float) -> tuple[str, str]:
        across = EDGE + (WIDTH - 2 * EDGE) * (epoch - 1) / max(1, epochs - 1)
        down = EDGE + (HEIGHT - 2 * EDGE) * (high - value) / ((high - low) or 1.0)
        return f"{across:.1f}", f"{down:.1f}"

    lines = [" ".join(",".join(point(epoch, value)) for epoch, value in enumerate(seed, 1)) for seed in seeds]
    dots = [point(epoch, seed[epoch - 1]) for epoch, seed in zip(best, seeds, strict=True)]
    return Panel(name, low, high, lines, dots)
