"""Step statistics-table: counts of each data set, here and in the paper's way, and the paper's own numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_json
from decorec.errors import DecorecError
from decorec.tables.labels import PaperNames
from decorec.tables.paper import paper_statistics
from decorec.tables.render import Cell, Group, Table, write
from decorec.tables.split_facts import read_split

__all__ = ["read_statistics", "statistics_table"]

COUNTED = ("users", "items", "interactions")
SHARES = {"cold": "cold_percent", "early": "early_percent", "same_day": "same_day_percent"}
"""Share of the test targets in statistics.json -> its column."""
SCHEMA: dict[str, type[pl.DataType]] = {
    "dataset": pl.String,
    **dict.fromkeys(COUNTED, pl.Int64),
    **dict.fromkeys(("mean_length", "sparsity_percent"), pl.Float64),
    **{f"as_paper_{name}": pl.Int64 for name in COUNTED},
    "as_paper_sparsity_percent": pl.Float64,
    **dict.fromkeys(("paper_items", "paper_interactions"), pl.Int64),
    "paper_sparsity_percent": pl.Float64,
    "protocol": pl.String,
    **dict.fromkeys(("training", "cold_items", "validation_targets", "test_targets"), pl.Int64),
    **dict.fromkeys(SHARES.values(), pl.Float64),
}
NOTES = [
    "Counted here: real users, items and interactions; sparsity = 1 - interactions / (users x items).",
    "Counted as in the paper: with one padding user and one padding item, and with the rows of the training, "
    "validation and test files as interactions, which is one fewer per user.",
]


def _count(file: Path, found: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The counts and sparsity (percent) of one way of counting."""
    try:
        return {name: int(found[name]) for name in COUNTED} | {"sparsity_percent": 100 * float(found["sparsity"])}
    except (KeyError, TypeError, ValueError) as error:
        raise DecorecError(
            f"{file}: expected the numbers {prefix}users, {prefix}items, {prefix}interactions and {prefix}sparsity, "
            f"found a problem with {error}; run the step that writes it again"
        ) from error


def read_statistics(files: Sequence[Path], paper: PaperNames) -> pl.DataFrame:
    """One row per data set: counts, counts in the paper's way, the paper's numbers (null if it has none), the split.

    Args:
        files: paths ending in DATASET/statistics.json.
        paper: data set -> its name in the paper.

    Raises:
        DecorecError: a file is missing or lacks a number.
    """
    rows = []
    for file in files:
        dataset, found = layout.dataset_of(file), read_json(file)
        if not isinstance(found, dict) or not isinstance(found.get("paper"), dict):
            raise DecorecError(
                f"{file}: expected an object with the key paper, found another document; run its step again"
            )
        counts = _count(file, found, "")
        as_paper = {f"as_paper_{key}": value for key, value in _count(file, found["paper"], "paper.").items()}
        printed = {f"paper_{key}": value for key, value in paper_statistics(paper.of(dataset)).items()}
        length = {"mean_length": counts["interactions"] / counts["users"]}
        facts = asdict(read_split(file))
        shares = {column: None if facts[name] is None else 100 * facts[name] for name, column in SHARES.items()}
        rows.append({"dataset": dataset, **counts, **length, **as_paper, **printed, **facts, **shares})
    return pl.DataFrame([{key: row.get(key) for key in SCHEMA} for row in rows], schema=SCHEMA)


def _integer(value: int | None) -> Cell:
    return Cell("" if value is None else f"{value:,}")


def _group(row: dict[str, Any]) -> Group:
    def line(prefix: str) -> list[Cell]:
        counts = [_integer(row.get(prefix + name)) for name in COUNTED]
        length = "" if prefix else f"{row['mean_length']:.2f}"
        return [*counts, Cell(length), Cell(f"{row[prefix + 'sparsity_percent']:.3f}")]

    rows = [("counted here", line("")), ("counted as in the paper", line("as_paper_"))]
    if row["paper_items"] is not None:
        rows.append(("printed in the paper", line("paper_")))
    return Group(row["dataset"], rows)


def statistics_table(*, statistics: list[Path], paper: PaperNames, csv: Path, tex: Path, html: Path, md: Path) -> None:
    """Count users, items and interactions of each data set, here and in the paper's way.

    Args:
        statistics: DATASET/statistics.json (read) of all data sets.
        paper: data set -> its name in the paper, or null.
        csv: the table (written), one row per data set: dataset, users, items, interactions, mean_length,
            sparsity_percent, the same counts and sparsity as counted in the paper (as_paper_...), and as printed in the
            paper (paper_...). Then the split: protocol, training (interactions), cold_items (without one of them),
            validation_targets, test_targets, and of the test targets cold_percent (cold items), early_percent (before
            the point in time that split.quantile of all interactions do not exceed) and same_day_percent (on the day of
            the interaction before it); the last two are empty where times are unknown.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or lacks a number.
    """
    records = read_statistics(statistics, paper)
    table = Table(
        records=records,
        caption="Statistics of the data sets",
        columns=["Data set", "Users", "Items", "Interactions", "Mean length", "Sparsity (%)"],
        groups=[_group(row) for row in records.iter_rows(named=True)],
        notes=[*NOTES, *(read_split(file).sentence(layout.dataset_of(file)) for file in statistics)],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d data sets", csv, len(records))
