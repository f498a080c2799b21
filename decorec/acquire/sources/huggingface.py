"""Source huggingface: data sets of the library ``datasets`` of Hugging Face, as its ``save_to_disk`` writes them.

The format, as the library writes it: a folder with ``state.json`` (``_data_files``: the names of its Arrow files, in
order), ``dataset_info.json`` (``features``: the type of each column) and the files, each in Arrow's streaming format.
A column of classes holds numbers; ``dataset_info.json`` has their names. A dict of splits is a folder with
``dataset_dict.json`` and one such folder for each split. The library is not needed to read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.json_lines import reading
from decorec.acquire.sources.files import NOTHING_LOST, Opened, TableFile, joined
from decorec.acquire.sources.tables import COLUMNS, ITEM_COLUMNS, Table, Tables
from decorec.config.datasets import HuggingFaceDataset
from decorec.errors import DecorecError

__all__ = ["opened"]

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def opened(dataset: HuggingFaceDataset) -> Tables:
    """Interactions and items."""
    folder = Path(dataset.path)
    return Tables(
        interactions=Table(_Saved(folder / dataset.interactions), dataset.names, key=COLUMNS),
        items=Table(_Saved(folder / dataset.items), dataset.item_names, key=ITEM_COLUMNS),
        unreadable=dataset.unreadable,
    )


@dataclass(frozen=True)
class _Saved(TableFile):
    folder: Path

    @property
    def origin(self) -> str:
        return str(self.folder)

    def paths(self) -> list[Path]:
        return [self.folder / STATE, *self._files()]

    def _files(self) -> list[Path]:
        """The Arrow files, in order.

        Raises:
            DecorecError: the folder is no saved data set, or a choice of rows that the files alone do not tell.
        """
        if (self.folder / SPLITS).is_file():
            splits = self._json(SPLITS).get("splits", [])
            raise DecorecError(
                f"{self.folder}: expected one data set, found a dict of the splits {', '.join(map(str, splits))}; name "
                f"the folder of one, such as {self.folder.name}/{next(iter(splits), 'train')}"
            )
        state = self._json(STATE)
        try:
            names = [str(file["filename"]) for file in state["_data_files"]]
        except (KeyError, TypeError) as error:
            raise self._other(STATE, f"no names of Arrow files ({error!r})") from error
        if state.get("_indices_data_files") or state.get("_indices_files"):
            raise self._other(STATE, "a selection of rows; call flatten_indices() first")
        return [self.folder / name for name in names]

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        with reading(path, "a data set written with save_to_disk"):
            try:
                found = json.loads(path.read_bytes())
            except ValueError as error:
                raise self._other(name, f"no JSON ({error})") from error
        if not isinstance(found, dict):
            raise self._other(name, "another value than an object")
        return found

    def _other(self, name: str, found: str) -> DecorecError:
        return DecorecError(
            f"{self.folder / name}: expected what save_to_disk writes, found {found}; save the data set again"
        )

    @contextmanager
    def opened(self, what: str, fields: Sequence[str]) -> Iterator[Opened]:
        parts, others = [], set[str]()
        for path in self._files():
            with reading(path, what):
                present = pl.read_ipc_stream(path, n_rows=0).schema
                self._expect_no_pictures(path, {name: present[name] for name in fields if name in present})
                parts.append(pl.read_ipc_stream(path, columns=[name for name in present if name in fields]))
                others |= present.keys() - set(fields)
        if not parts:
            raise self._other(STATE, "no Arrow file")
        with reading(self.folder / STATE, what):
            yield joined([self._named(part).lazy() for part in parts], others - set(parts[0].columns)), NOTHING_LOST

    def _named(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with the names of classes in place of their numbers."""
        features = self._json(INFO).get("features") or {}
        classes = {
            name: dict(enumerate(feature["names"]))
            for name, feature in features.items()
            if name in table.columns and isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
        return table.with_columns(
            pl.col(name).replace_strict(names, default=None, return_dtype=pl.String) for name, names in classes.items()
        )

    @staticmethod
    def _expect_no_pictures(path: Path, schema: dict[str, pl.DataType]) -> None:
        for name, dtype in schema.items():
            inner = dtype.inner if isinstance(dtype, pl.List) else dtype
            if isinstance(inner, pl.Struct) and "bytes" in inner.to_schema():
                raise DecorecError(
                    f"{path}, column {name!r}: expected names or addresses of pictures, found pictures; write them "
                    "into a folder and save the data set with a column of their names"
                )
