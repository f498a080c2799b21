"""The inputs of the encoder: the distinct pictures and texts, and which of them each item has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_table
from decorec.artifacts.layout import picture_path
from decorec.errors import DecorecError

__all__ = ["Distinct", "EncoderInputs", "read_encoder_inputs"]

log = logging.getLogger("decorec")


@dataclass(frozen=True)
class Distinct:
    """Distinct values in order of first appearance, and for each item the position of its own value, or -1."""

    values: list[str]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, things: list[str | None]) -> Distinct:
        """Deduplicate ``things``, one per item; None stands for an item without one."""
        positions: dict[str, int] = {}
        rows = [-1 if thing is None else positions.setdefault(thing, len(positions)) for thing in things]
        return cls(list(positions), np.array(rows, dtype=np.int64))

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which items have one, [items]."""
        return self.rows >= 0

    def spread(self, encoded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Rows of ``encoded`` [distinct, width] in the order of the items; zeros for items without one."""
        x = np.zeros((len(self.rows), encoded.shape[1]), dtype=np.float32)
        x[self.present] = encoded[self.rows[self.present]]
        return x


@dataclass(frozen=True)
class EncoderInputs:
    """Items, their texts, and their pictures by the sha256 of the fetched file.

    ``picture_paths``: stored file of each distinct picture.
    """

    items: list[str]
    texts: Distinct
    pictures: Distinct
    picture_paths: list[Path]

    @classmethod
    def of(cls, items: list[str], texts: list[str | None], pictures: list[str | None], cache: Path) -> EncoderInputs:
        """One text and one picture (sha256 of the fetched file, stored under ``cache``) per item; None: it has none."""
        distinct = Distinct.of(pictures)
        paths = [picture_path(cache, sha256) for sha256 in distinct.values]
        return cls(items, Distinct.of([text if text and text.strip() else None for text in texts]), distinct, paths)

    @property
    def stored_pictures(self) -> list[str]:
        """Checksum of the original and size in bytes of the stored file of each distinct picture.

        A key for what is computed from the stored files: one original is stored differently under another crawl.side.
        """
        sizes = [path.stat().st_size if path.is_file() else 0 for path in self.picture_paths]
        return [f"{sha256}:{size}" for sha256, size in zip(self.pictures.values, sizes, strict=True)]


def read_encoder_inputs(items: Path, images: Path, cache: Path) -> EncoderInputs:
    """Read items.parquet and images.parquet; an item's picture is the first one that was fetched.

    Raises:
        DecorecError: a file is missing or lacks a column, or images.parquet names items that do not exist.
    """
    table = read_table(items, {"item": pl.String, "text": pl.String})
    names: list[str] = table["item"].to_list()
    fetched = read_table(images, {"item": pl.String, "status": pl.String, "sha256": pl.String})
    fetched = fetched.filter(pl.col("status") == "ok").unique("item", keep="first", maintain_order=True)
    unknown = set(fetched["item"]) - set(names)
    if unknown:
        raise DecorecError(
            f"{images}: expected pictures of the items of {items}, found {len(unknown)} other items "
            f"(first: {min(unknown)!r}); run the crawl step again"
        )
    picture = dict(zip(fetched["item"], fetched["sha256"], strict=True))
    inputs = EncoderInputs.of(names, table["text"].to_list(), [picture.get(item) for item in names], cache)
    log.info(
        "features: %d items, %d with text (%d distinct), %d with a picture (%d distinct)",
        len(names),
        inputs.texts.present.sum(),
        len(inputs.texts.values),
        inputs.pictures.present.sum(),
        len(inputs.pictures.values),
    )
    return inputs
