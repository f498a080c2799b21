"""Step gates-table: the gates of the enrichment by layer (eq. 2), as the models have learned them."""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from decorec.artifacts import layout
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.decorec import DeCoRec
from decorec.tables.labels import label
from decorec.tables.render import Cell, Group, Table, write

__all__ = ["gates_table"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "run", "part"), pl.String),
    "layer": pl.Int64,
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("low", "high", "falls"), pl.Float64),
}
Gates = npt.NDArray[np.float64]


def _read(files: list[Path]) -> dict[tuple[str, str, str], list[Gates]]:
    """Data set, run and part -> gates [L, I] of each seed."""
    found: dict[tuple[str, str, str], list[Gates]] = {}
    for file in files:
        where = layout.place(file, layout.MODEL)
        model = checkpoint.load(file, file.with_name("config.json")).model
        if not isinstance(model, DeCoRec):
            raise DecorecError(
                f"{file}: expected a run of decorec, found {model.config.name}; remove it from tables.gates"
            )
        with torch.no_grad():  # in double precision: which of two gates is smaller must not be a matter of rounding
            for part, gates in model.double().gates().items():
                found.setdefault((where.dataset, where.run, part), []).append(gates.numpy())
    return found


def _rows(names: tuple[str, str, str], seeds: list[Gates]) -> list[dict[str, Any]]:
    """Rows of one part of a model, one per layer."""
    every = np.stack(seeds)
    layers = every.shape[1]
    falls = float((np.diff(every, axis=1) < 0).all(1).mean()) if layers > 1 else None
    rows = []
    for layer in range(layers):
        means = every[:, layer].mean(1).tolist()
        low, high = np.quantile(every[:, layer], (0.05, 0.95)).tolist()
        measured = {"mean": fmean(means), "std": stdev(means) if len(means) > 1 else None, "seeds": len(means)}
        rows.append(
            dict(zip(("dataset", "run", "part"), names, strict=True))
            | {"layer": layer + 1, **measured, "low": low, "high": high, "falls": falls}
        )
    return rows


def _line(rows: list[dict[str, Any]], layers: int) -> tuple[str, list[Cell]]:
    """The printed row of one part of a model."""
    cells = [
        Cell(
            f"{row['mean']:.4f}",
            spread="" if row["std"] is None else f"{row['std']:.4f}",
            note=f"[{row['low']:.4f}, {row['high']:.4f}]",
        )
        for row in rows
    ]
    falls = rows[0]["falls"]
    cells += [Cell()] * (layers - len(cells)) + [Cell("" if falls is None else f"{falls:.0%}")]
    return f"{label(rows[0]['run'])}: {rows[0]['part']}", cells


def gates_table(*, models: list[Path], csv: Path, tex: Path, html: Path, md: Path) -> None:
    """Show the gates mu of eq. 2 by layer; the paper says that higher layers receive smaller ones.

    Args:
        models: DATASET/runs/RUN/seed-N/STAGE/model.safetensors (read), each with its config.json beside it.
        csv: the table (written), one row per data set, run, part (a modality, or ids) and layer: dataset, run, part,
            layer (from 1), mean (over items and seeds), std (over seeds, of the mean over items), seeds, low and high
            (percentiles 5 and 95 over items and seeds), falls (share of items and seeds whose gate is smaller in every
            layer than in the one before; empty with a single layer).
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, a model is not one of decorec, or none has gates.
    """
    parts = [_rows(names, seeds) for names, seeds in _read(models).items()]
    if not parts:
        raise DecorecError(
            "--models: expected a model that is enriched by gates, found none; give tables.gates a run with "
            "model.modal_layers, or with model.id_layers and model.id_enrichment: gated"
        )
    layers = max(map(len, parts))
    counts = sorted({rows[0]["seeds"] for rows in parts})
    datasets = dict.fromkeys(rows[0]["dataset"] for rows in parts)
    table = Table(
        records=pl.DataFrame([row for rows in parts for row in rows], schema=SCHEMA),
        caption="Gates of the enrichment by layer (eq. 2)",
        columns=["Run and part", *(f"Layer {layer + 1}" for layer in range(layers)), "Falls with every layer"],
        groups=[
            Group(dataset, [_line(rows, layers) for rows in parts if rows[0]["dataset"] == dataset])
            for dataset in datasets
        ],
        notes=[
            "Mean of mu over items and seeds ± standard deviation over seeds of the mean over items. In brackets "
            f"(html): percentiles 5 and 95 over items and seeds. Seeds: {' or '.join(map(str, counts))}.",
            "Falls with every layer: share of items and seeds whose gate is smaller in each layer than in the one "
            "before. The weights of a gate start at zero, so that every gate starts at the same value.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d models", csv, len(models))
