"""What a source gives to the steps ingest and histories, whatever its files look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from decorec.data.interactions import Account, Interactions

__all__ = ["ITEM_SCHEMA", "Metadata", "Row", "Source"]

Row = Callable[[dict[str, Any], Counter[str]], dict[str, Any]]
"""Makes a row of items.parquet from a record, and counts repairs by reason."""
ITEM_SCHEMA: dict[str, Any] = {
    "item": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "description": pl.String,
    "text": pl.String,
    "image_urls": pl.List(pl.String),
}


@dataclass(frozen=True)
class Metadata:
    """``ids``: all items that have a record. ``records``: item and raw fields, one row per wanted item."""

    ids: pl.Series
    records: pl.DataFrame
    account: Account


class Source(ABC):
    """One data set, ready to be read."""

    unreadable: float
    """Largest share of the records of a file that may be dropped for one reason."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """From a record of the items: a row of items.parquet. A function at the top level of a module."""

    @property
    @abstractmethod
    def interactions_origin(self) -> str:
        """The file of interactions, for messages."""

    @property
    @abstractmethod
    def items_origin(self) -> str:
        """The file of items, for messages."""

    @abstractmethod
    def read_interactions(self) -> tuple[Interactions, Account]:
        """Users, items, ratings and times in the order of the source, and what was dropped.

        Raises:
            DecorecError: a file is missing or not what it should be.
        """

    @abstractmethod
    def read_items(self, wanted: pl.Series) -> Metadata:
        """Ids of all items, and the records of the ``wanted`` ones.

        Raises:
            DecorecError: as for ``read_interactions``.
        """
