"""The file of item features: one row per item, and the ids of the items."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.data.contract import check_finite
from decorec.errors import DecorecError

__all__ = ["FeatureFile", "Storage", "items_digest"]

Storage = Literal["float32", "float16"]
ROWS = 4_096
"""Rows that are scaled at a time."""


def items_digest(items: Sequence[str]) -> str:
    """SHA-256 (hex) of the newline-joined item ids."""
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


@dataclass(frozen=True)
class FeatureFile:
    """Features of one modality.

    ``x`` [items, width] float32, or float16 where it stays on the disk; of any length; rows of absent items are zero.
    ``present`` [items] bool.
    ``items``: the item of each row. ``metadata``: encoder, weights, ... as text. ``origin``: where it was read from.
    """

    x: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    items: list[str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    origin: str = field(default="features", compare=False)

    def write(self, path: Path, storage: Storage = "float32") -> None:
        """Write as safetensors: x, present, items (uint8: utf-8 ids joined by newlines), items_sha256 in the metadata.

        ``storage``: the type of x in the file.

        Raises:
            DecorecError: rows, presence and items differ in length, an id holds a newline, or a value is too large for
                the type.
        """
        _check_shapes(path, self.x, self.present, self.items)
        if any("\n" in item for item in self.items):
            raise DecorecError(
                f"{path}: expected item ids without line breaks, found one with a line break; rename the item"
            )
        if storage == "float16" and np.abs(self.x).max(initial=0) > np.finfo(np.float16).max:
            raise DecorecError(
                f"{path}: expected values up to {np.finfo(np.float16).max} (features.storage: float16), found "
                f"{np.abs(self.x).max()}; set features.storage to float32"
            )
        arrays = {
            "x": self.x.astype(storage, copy=False),
            "present": self.present,
            "items": np.frombuffer("\n".join(self.items).encode(), dtype=np.uint8),
        }
        check_finite(path, arrays)
        write_arrays(path, arrays, {**self.metadata, "items_sha256": items_digest(self.items)})

    @classmethod
    def read(cls, path: Path, mapped: bool = False) -> FeatureFile:
        """Read a file written by :meth:`write`.

        ``mapped``: x stays on the disk, in the type of the file; its rows are read when they are used.

        Raises:
            DecorecError: this is not a features file, lengths or types are wrong, or the ids do not match the checksum.
        """
        arrays, metadata = read_arrays(path, {"x"} if mapped else ())
        missing = {"x", "present", "items"} - set(arrays)
        if missing:
            raise DecorecError(
                f"{path}: expected the arrays x, present and items, found {sorted(arrays)}; run its step again"
            )
        x, present = arrays["x"], arrays["present"]
        ids = arrays["items"].tobytes().decode()
        items = ids.split("\n") if ids else []
        if x.dtype not in (np.float32, np.float16) or present.dtype != np.bool_:
            raise DecorecError(
                f"{path}: expected x of type float32 or float16 and present of type bool, found {x.dtype} and "
                f"{present.dtype}; run its step again"
            )
        _check_shapes(path, x, present, items)
        if metadata.get("items_sha256") != items_digest(items):
            raise DecorecError(
                f"{path}: expected item ids with the checksum {metadata.get('items_sha256')}, found "
                f"{items_digest(items)}; the file is damaged, delete it and run its step again"
            )
        return cls(x if mapped else x.astype(np.float32, copy=False), present, items, metadata, str(path))

    def lengths(self) -> npt.NDArray[np.float64]:
        """Length of each row, [items]; each depends on its own row alone."""
        found = np.empty(len(self.x))
        for start in range(0, len(self.x), ROWS):  # in float64 a whole large file would take much memory
            block = slice(start, start + ROWS)
            found[block] = np.linalg.norm(self.x[block].astype(np.float64), axis=1)
        return found

    def of_length(self, length: float) -> FeatureFile:
        """The same directions, each row of the given ``length``; rows of zeros stay."""
        own = self.lengths()
        x = np.empty(self.x.shape, np.float32)
        for start in range(0, len(x), ROWS):
            block = slice(start, start + ROWS)
            factor = length / np.where(own[block] > 0, own[block], 1)
            x[block] = self.x[block].astype(np.float64) * factor[:, None]
        return replace(self, x=x, metadata={**self.metadata, "length": f"{length:g}"})

    def aligned(self, items: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Rows and presence in the order of ``items``, in memory; rows of absent items are zero.

        Raises:
            DecorecError: an item has no row in this file.
        """
        rows = self.rows_of(items)
        present = self.present[rows]
        x = np.asarray(self.x[rows]).astype(np.float32, copy=False)
        x[~present] = 0
        return x, present

    def rows_of(self, items: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where the rows of ``items`` stand, [items].

        Raises:
            DecorecError: an item has no row in this file.
        """
        row = {item: index for index, item in enumerate(self.items)}
        unknown = [item for item in items if item not in row]
        if unknown:
            raise DecorecError(
                f"{self.origin}: expected a row for each of {len(items)} items, found none for {len(unknown)} of them "
                f"(first: {unknown[0]!r}); run the features step again"
            )
        return np.fromiter((row[item] for item in items), dtype=np.int64, count=len(items))


def _check_shapes(path: Path, x: npt.NDArray[np.float32], present: npt.NDArray[np.bool_], items: list[str]) -> None:
    if x.ndim != 2 or present.ndim != 1 or not len(x) == len(present) == len(items):
        raise DecorecError(
            f"{path}: expected one row of x and one entry of present for each of {len(items)} items, found shapes "
            f"{x.shape} and {present.shape}; run its step again"
        )
