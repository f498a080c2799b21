"""Step recall-table: hits, predictions and precision of each view on each data set."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.recall import RECALL
from decorec.evaluation.neighbour_recall import VIEWS
from decorec.tables.labels import PaperNames
from decorec.tables.paper import paper
from decorec.tables.render import Cell, Group, Table, emphasise, write

__all__ = ["recall_table"]

FIGURES = ("hits", "predictions", "precision")
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "view"), pl.String),
    "users": pl.Int64,
    "hits": pl.Float64,
    "predictions": pl.Int64,
    "precision": pl.Float64,
    **{f"paper_{name}": pl.Float64 for name in FIGURES},
}
NAMES = {
    "interest": "Interest (co-occurrence)",
    "modal-similarity": "Modal similarity (text and picture)",
    "modality-interest": "Both at once",
}


def _printed(view: str, name: str | None) -> dict[str, float | None]:
    figures = paper().retrieval.rows[view].get(name or "", [])
    found = dict(zip(paper().retrieval.columns, figures, strict=False))
    return {f"paper_{column}": found.get(column) for column in FIGURES}


def recall_table(*, recalls: list[Path], paper: PaperNames, csv: Path, tex: Path, html: Path, md: Path) -> None:
    """Count next items found without training, by view, and compare with the paper.

    Args:
        recalls: DATASET/recall.parquet (read) of all data sets.
        paper: data set -> its name in the paper, or null.
        csv: the table (written), one row per data set and view: dataset, history (masked: its items are not predicted),
            view, users, hits, predictions, precision, paper_hits, paper_predictions, paper_precision.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or is not a table of the step neighbour-recall.
    """
    rows, groups = [], []
    for file in recalls:
        dataset, frame, lines = layout.dataset_of(file), read_table(file, RECALL), []
        for view in VIEWS:
            counted = frame.filter(view=view)
            hits, predictions = float(counted["hits"].sum()), round(counted["predictions"].sum())
            precision = hits / predictions if predictions else None
            printed = _printed(view, paper.of(dataset))
            figures = {"hits": hits, "predictions": predictions, "precision": precision}
            rows.append(
                {"dataset": dataset, "history": "masked", "view": view, "users": len(counted), **figures, **printed}
            )
            lines.append((view, figures, printed["paper_precision"]))
        values = ["" if (found := figures["precision"]) is None else f"{found:.5f}" for _, figures, _ in lines]
        marks = emphasise(values)
        groups.append(
            Group(
                f"{dataset}, {rows[-1]['users']:,} users",
                [
                    (
                        NAMES[view],
                        [
                            Cell(f"{figures['hits']:,.1f}"),
                            Cell(f"{figures['predictions']:,}"),
                            Cell(value, mark),
                            Cell("" if printed_precision is None else f"{printed_precision:.5f}"),
                        ],
                    )
                    for (view, figures, printed_precision), value, mark in zip(lines, values, marks, strict=True)
                ],
            )
        )
    table = Table(
        records=pl.DataFrame(rows, schema=SCHEMA),
        caption="Next items found without training",
        columns=["View", "Hits", "Predictions", "Precision", "Precision in the paper"],
        groups=groups,
        notes=[
            "The predictions are the nearest neighbours of the items in a user's history; all views make equally many. "
            "A hit is the user's test item; items of the history are not predicted. Where equally near items compete "
            "for the last predictions, each counts with its share of their orders. Bold: best; underlined: second."
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d data sets", csv, len(groups))
