"""Vectors of one's own: a file with the id and the vector of each item."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.acquire.sources.losses import expect_spelling
from decorec.artifacts.files import read_arrays, read_table
from decorec.artifacts.seal import provenance
from decorec.errors import DecorecError

__all__ = ["GivenVectors"]

log = logging.getLogger("decorec")
FORM = "columns item and vector (parquet), or arrays items and x (safetensors)"


@dataclass(frozen=True)
class GivenVectors:
    """``x`` [rows, width] float32 with the row of each item. ``sha256``: digest of the file ``path``."""

    path: Path
    x: npt.NDArray[np.float32]
    rows: Mapping[str, int]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> GivenVectors:
        """Read a table (parquet) or arrays (safetensors).

        Parquet: ``item`` (text or whole number) and ``vector`` (a list of numbers, or null for an item without one).
        Safetensors: ``x`` [rows, width] and ``items``, the ids as UTF-8 bytes (uint8), joined by newlines, as in
        features/MODALITY.safetensors. Blanks around an id do not count.

        Raises:
            DecorecError: no such file, another form, a row without an id, an id twice, vectors of different widths, or
                a value that is not finite.
        """
        with provenance():  # of its own: a copy of earlier features was made from earlier tables
            items, x = _table(path) if path.suffix == ".parquet" else _arrays(path)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            raise DecorecError(
                f"{path}, item {items[bad[0]]!r}: expected finite values, found NaN or infinity; {len(bad)} such items;"
                " correct them, or give these items no vector"
            )
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        return cls(path, x, {item: row for row, item in enumerate(items)}, sha256)

    @property
    def metadata(self) -> dict[str, str]:
        """For the metadata of features."""
        return {"encoder": "given", "source": str(self.path), "source_sha256": self.sha256}

    def of(self, items: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Rows [items, width] and presence [items]; an item without a row, or with a row of zeros, has no vector.

        Raises:
            DecorecError: ids of the file are those of items in another spelling, as programs write numbers.
        """
        expect_spelling(str(self.path), pl.Series(list(self.rows), dtype=pl.String), items, "the catalogue")
        found = np.array([self.rows.get(item, -1) for item in items], dtype=np.int64)
        x = np.zeros((len(items), self.x.shape[1]), dtype=np.float32)
        x[found >= 0] = self.x[found[found >= 0]]
        present: npt.NDArray[np.bool_] = np.any(x != 0, axis=1)
        log.info(
            "features: %s: %d vectors of width %d, of %d items %d have one",
            self.path,
            len(self.x),
            self.x.shape[1],
            len(items),
            present.sum(),
        )
        return x, present


def _expect_ids(path: Path, items: Sequence[str | None]) -> None:
    """Refuse a row without an id, and an id that stands twice."""
    first: dict[str, int] = {}
    for row, item in enumerate(items):
        if not item:
            raise DecorecError(f"{path}, row {row}: expected an item, found none; add its id")
        if first.setdefault(item, row) != row:
            raise DecorecError(
                f"{path}, rows {first[item]} and {row}: expected each item once, found {item!r} twice; remove one"
            )


def _table(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    table = read_table(path)
    kinds = table.schema
    vector = kinds.get("vector")
    numbers = isinstance(vector, pl.List | pl.Array) and pl.Series([], dtype=vector).explode().dtype.is_numeric()
    if not numbers or not (kinds.get("item") == pl.String or kinds.get("item", pl.Null()).is_integer()):
        raise DecorecError(
            f"{path}: expected {FORM}, with ids as text or whole numbers and vectors as lists of numbers, found "
            f"{', '.join(f'{name} ({kind})' for name, kind in kinds.items()) or 'no column'}"
        )
    table = table.select(
        item=pl.col("item").cast(pl.String).str.strip_chars(), vector=pl.col("vector").cast(pl.List(pl.Float32))
    )
    _expect_ids(path, table["item"].to_list())
    table = table.filter(pl.col("vector").is_not_null())
    widths = table["vector"].list.len()
    holes = table["vector"].list.eval(pl.element().is_null()).list.any()
    other = (widths != (widths.mode().sort()[-1] if len(table) else 0)) | (widths == 0) | holes
    if other.any():
        row = int(other.arg_max() or 0)
        raise DecorecError(
            f"{path}, item {table['item'][row]!r}: expected {widths.mode().sort()[-1]} numbers, as most items have, "
            f"found {widths[row]}{' with gaps' if holes[row] else ''}; {int(other.sum())} such items; make them again "
            "with one encoder, or give them no vector (null)"
        )
    if table.is_empty():
        raise DecorecError(f"{path}: expected vectors, found none; write the file again")
    x = table["vector"].explode().to_numpy().reshape(len(table), -1)
    return table["item"].to_list(), np.ascontiguousarray(x)


def _arrays(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    arrays, _ = read_arrays(path)
    x, names = arrays.get("x"), arrays.get("items")
    if x is None or names is None or x.ndim != 2 or not np.issubdtype(x.dtype, np.floating) or names.dtype != np.uint8:
        shown = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in sorted(arrays.items()))
        raise DecorecError(
            f"{path}: expected {FORM}, with x of two dimensions and items of type uint8, found {shown or 'no array'}"
        )
    items = [item.strip() for item in names.tobytes().decode(errors="replace").split("\n")]
    if len(items) != len(x) or not x.size:
        raise DecorecError(
            f"{path}: expected one id for each of {len(x)} rows of x, found {len(items)}; write it again"
        )
    _expect_ids(path, items)
    return items, x.astype(np.float32, copy=False)
