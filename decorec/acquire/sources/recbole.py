"""Source recbole: RecBole's atomic files of interactions and items.

The format, as RecBole's documentation describes it: text with tabs between the fields and no quotes; the first line
names each field and its type, such as ``user_id:token``. The types are token, token_seq (texts with blanks between
them), float and float_seq. ``NAME.inter`` has user_id, item_id and often rating and timestamp (seconds); ``NAME.item``
has item_id and whatever else is known. Files with given splits (``NAME.train.inter``) are the source atomic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from decorec.acquire.csv_files import check_csv, check_encoding, check_widths
from decorec.acquire.json_lines import reading
from decorec.acquire.sources.files import NOTHING_LOST, LocalTable, Opened
from decorec.acquire.sources.tables import COLUMNS, ITEM_COLUMNS, Table, Tables
from decorec.config.datasets import RecBoleDataset
from decorec.data.interactions import shortened
from decorec.errors import DecorecError

__all__ = ["opened"]

TYPES = ("token", "token_seq", "float", "float_seq")
IDS = {"user": "user_id", "item": "item_id"}


def opened(dataset: RecBoleDataset) -> Tables:
    """Interactions and items."""
    folder = Path(dataset.path)
    columns = {**IDS, **dataset.names}
    item_columns = {"item": IDS["item"], **dataset.item_names}
    ids = (columns["user"], columns["item"])
    several = tuple(item_columns.get(name, name) for name in ("category", "image"))
    interactions = _AtomicFile(folder / dataset.interactions, ids, ())
    items = _AtomicFile(folder / dataset.items, (item_columns["item"],), several)
    return Tables(
        interactions=Table(interactions, columns, key=COLUMNS),
        items=Table(items, item_columns, key=ITEM_COLUMNS),
        unreadable=dataset.unreadable,
    )


@dataclass(frozen=True)
class _AtomicFile(LocalTable):
    ids: tuple[str, ...]
    """Fields that must be of the type token."""
    several: tuple[str, ...]
    """Fields that are lists, if they are sequences."""

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        with reading(self.path, what):
            check_csv(self.path)
            try:
                table = pl.scan_csv(self.path, separator="\t", quote_char=None, infer_schema=False, glob=False)
                headings = table.collect_schema().names()
                types = {name: self._typed(name) for name in headings}
                names = {heading: name for heading, (name, _) in types.items()}
                lists = [name for name, kind in types.values() if name in self.several and kind == "token_seq"]
                split = [
                    pl.col(name).str.split(" ").list.eval(pl.element().filter(pl.element() != "")) for name in lists
                ]
                yield table.rename(names).with_columns(split), NOTHING_LOST
            except pl.exceptions.ComputeError:
                check_encoding(self.path)
                check_widths(self.path, "\t", quoted=False)
                raise

    def expect_records(self, found: int, *, unbroken: bool = False) -> None:
        with reading(self.path, "a table"):
            check_widths(self.path, "\t", quoted=False)

    def _typed(self, heading: str) -> tuple[str, str]:
        """Name and type of a field.

        Raises:
            DecorecError: the heading has no type, or the type is not one for an id.
        """
        name, _, kind = heading.strip().rpartition(":")
        if kind not in TYPES:
            raise DecorecError(
                f"{self.path}, line 1: expected names with a type, such as user_id:token, and tabs between them, "
                f"found {shortened(heading)!r}; the types are {', '.join(TYPES)}"
            )
        if name in self.ids and kind != "token":
            raise DecorecError(
                f"{self.path}, line 1, column {heading!r}: expected ids of the type token, found {kind}; write them as "
                "text, without a fraction"
            )
        return name, kind
