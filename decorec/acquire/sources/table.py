"""Source table: the user's own tables of interactions and items, csv, tsv or parquet by the ending of the name."""

from __future__ import annotations

from pathlib import Path

from decorec.acquire.sources.files import table_file
from decorec.acquire.sources.tables import COLUMNS, ITEM_COLUMNS, Table, Tables
from decorec.config.datasets import TableDataset

__all__ = ["opened"]


def opened(dataset: TableDataset) -> Tables:
    """The two tables."""
    folder = Path(dataset.path)
    return Tables(
        interactions=Table(table_file(folder / dataset.interactions), dataset.names, key=COLUMNS),
        items=Table(table_file(folder / dataset.items), dataset.item_names, key=ITEM_COLUMNS),
        unreadable=dataset.unreadable,
    )
