"""Features of items that a model was not trained with, from a table with their texts and pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.acquire.crawl.step import crawl
from decorec.acquire.sources.catalogue import make_catalogue
from decorec.acquire.sources.files import table_file
from decorec.acquire.sources.losses import expect_spelling
from decorec.acquire.sources.tables import Table, table_row
from decorec.artifacts import layout
from decorec.artifacts.files import by_stem, read_table, write_table
from decorec.artifacts.schemas.images import IMAGES
from decorec.config.acquire import CrawlConfig
from decorec.config.datasets import TableDataset
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.given import GivenVectors
from decorec.features.item_encoder import encode_items
from decorec.recommend.new_items import DESCRIPTIONS

__all__ = ["WITHOUT_PICTURE", "NewItems", "own_features", "read_new_items"]

log = logging.getLogger("decorec")
WITHOUT_PICTURE = ("item", "url", "status", "http_status", "error")
"""Columns of the table of new items without a usable picture, as in images.parquet: one row per address that was tried,
or one without an address where none was."""


@dataclass(frozen=True)
class NewItems:
    """Items that a model was not trained with."""

    ids: list[str]
    """N ids."""
    features: list[npt.NDArray[np.float32]]
    """Of each modality, [I + N, F]: rows of the I known items, then of the new ones."""
    described: pl.DataFrame
    """What people know the N items by: ``decorec.recommend.new_items.DESCRIPTIONS``."""
    without_picture: pl.DataFrame
    """``WITHOUT_PICTURE`` of the new items of the table that have no usable picture; empty where none is used."""


def own_features(run: Path) -> list[Path]:
    """The features of the data set of a run that lies in results/; empty if there are none."""
    every = layout.of_dataset(run, layout.FEATURES, modality="*")
    return [] if every is None else sorted(every.parent.glob(every.name))


def read_new_items(
    table: Path, known: Sequence[str], features: Sequence[Path], encoder: Path | None, cache: Path | None, threads: int
) -> NewItems:
    """The features of the items of a table that are not among the ``known`` ones.

    Items with a row in the files of features are not encoded.

    Args:
        table: of items (csv, tsv, parquet), in the form that the items of the source table have: item, and any of
            title, brand, category, description and image (an address, or a file relative to the folder of the table).
        known: ids of the model's items.
        features: MODALITY.safetensors of the data set, or vectors of one's own (parquet): of all known items.
        encoder: encoder.safetensors that these were made with; only needed for items without a row in them.
        cache: folder results/cache, which keeps pictures and encoded rows; None: nothing is kept.
        threads: number of threads.

    Raises:
        DecorecError: a file is missing or damaged, no item is new, a known one is there in another spelling, or one
            has no row and there is no encoder.
    """
    if not features:
        raise DecorecError(
            "--features: expected the features of the known items (results/DATASET/features/*.safetensors), found "
            "none; give them, or a run that lies in results/"
        )
    dataset = TableDataset(source="table", path=str(table.parent), items=table.name)
    records = Table(table_file(table)).read_items().records
    expect_spelling(str(table), records["item"], known)
    new = records.filter(~pl.col("item").is_in(list(known)))
    if new.is_empty():
        raise DecorecError(f"{table}: expected an item that the model does not know, found {len(records)} known ones")
    broken = new.filter(pl.col("item").str.contains("\n", literal=True))["item"].to_list()
    if broken:  # the files of a run join ids by these
        raise DecorecError(f"{table}: expected ids without line breaks, found {broken[0]!r}; rename the item")
    files = {modality: _features(path, known) for modality, path in by_stem(features).items()}
    given = set.intersection(*(set(file.items) for file in files.values()))
    missing = new.filter(~pl.col("item").is_in(list(given)))
    pictures = "image" in files and bool(files["image"].present.any())
    catalogue, _ = make_catalogue(new, table_row, threads)
    rest = catalogue.filter(pl.col("item").is_in(missing["item"].implode()))
    encoded: dict[str, FeatureFile] = {}
    images = pl.DataFrame(schema=IMAGES)
    if len(missing):
        encoded, images = _encoded(dataset, rest, encoder, cache, threads, pictures)
    old = [item for item in new["item"] if item in given]
    ids = [*old, *missing["item"]]
    described, rows = np.zeros(len(ids), np.bool_), []
    without_picture: list[str] = []
    for modality, file in files.items():
        x, present = file.aligned([*known, *old])
        width, extra = file.x.shape[1], encoded.get(modality)
        y, there = np.zeros((len(missing), width), np.float32), np.zeros(len(missing), np.bool_)
        if extra is not None and extra.present.any():
            _expect_width(file, extra, encoder)
            y, there = extra.aligned(missing["item"].to_list())
        rows.append(np.concatenate([x, y]))
        there = np.concatenate([present[len(known) :], there])
        described |= there
        if modality == "image" and pictures:
            without_picture = [item for item, has in zip(ids, there, strict=True) if not has]
    if not described.any():
        raise DecorecError(
            f"{table}: expected a text or a picture of a new item, found none of {len(ids)}; add titles or pictures"
        )
    log.info(
        "%s: %d items, %d of them new, %d of these encoded now, %d left out, which have neither text nor picture",
        table,
        len(records),
        len(ids),
        len(missing),
        int((~described).sum()),
    )
    kept = np.concatenate([np.ones(len(known), np.bool_), described])
    new_ids = [item for item, keep in zip(ids, described, strict=True) if keep]
    told = pl.DataFrame({"item": new_ids}).join(catalogue, on="item", how="left", maintain_order="left")
    told = told.join(_stored(images), on="item", how="left", maintain_order="left").select(*DESCRIPTIONS)
    bare = pl.DataFrame({"item": pl.Series(without_picture, dtype=pl.String)})
    bare = bare.join(images, on="item", how="left", maintain_order="left_right").select(*WITHOUT_PICTURE)
    return NewItems(new_ids, [x[kept] for x in rows], told, bare)


def _features(path: Path, known: Sequence[str]) -> FeatureFile:
    """The features of the step features, or of vectors of one's own: of the ``known`` items and of others."""
    if path.suffix != ".parquet":
        return FeatureFile.read(path)
    given = GivenVectors.read(path)
    items = list(dict.fromkeys([*known, *given.rows]))
    x, present = given.of(items)
    if not present[: len(known)].any():
        raise DecorecError(
            f"{path}: expected vectors of the known items as well, with which those of the new ones are compared, "
            "found none; add them"
        )
    return FeatureFile(x, present, items, given.metadata, str(path))


def _encoded(
    dataset: TableDataset,
    catalogue: pl.DataFrame,
    encoder: Path | None,
    cache: Path | None,
    threads: int,
    pictures: bool,
) -> tuple[dict[str, FeatureFile], pl.DataFrame]:
    """Modality -> features of new items, and ``IMAGES`` of the pictures that were tried.

    With ``pictures``, these are read, or fetched, as the step crawl does.

    In a shop without pictures there is no known item that they could be compared with.
    """
    if encoder is None:
        raise DecorecError(
            f"{Path(dataset.path) / dataset.items}: expected items with a row in --features, or --encoder "
            f"(results/DATASET/encoder.safetensors), found {len(catalogue)} items without a row (such as "
            f"{catalogue['item'][0]!r}) and no encoder; give it, or as --features vectors of your own, of the known "
            "items and of these (parquet: item, vector)"
        )
    with TemporaryDirectory(prefix="decorec-") as temporary:
        place = Path(temporary)
        store = cache or place / "cache"
        images = pl.DataFrame(schema=IMAGES)
        if pictures:
            images = _fetched(dataset, catalogue, store, place / "new-items")
        paths = {item: str(layout.picture_path(store, sha256)) for item, sha256 in _stored(images).iter_rows()}
        described = catalogue.select("item", "text").with_columns(
            picture=pl.Series([paths.get(item) for item in catalogue["item"]], dtype=pl.String)
        )
        return encode_items(encoder, described, threads=threads, cache=cache), images


def _fetched(dataset: TableDataset, catalogue: pl.DataFrame, store: Path, folder: Path) -> pl.DataFrame:
    """``IMAGES`` of the pictures that were tried, which are in ``store``; ``folder`` is for tables on the way."""
    items, images = (folder / name for name in ("items.parquet", "images.parquet"))
    write_table(items, catalogue)
    crawl(dataset=dataset, settings=CrawlConfig(), catalogue=items, cache=store, images=images)
    return read_table(images, IMAGES)


def _stored(images: pl.DataFrame) -> pl.DataFrame:
    """item and sha256 of the items with a picture."""
    return images.filter(pl.col("status") == "ok").select("item", "sha256").unique("item", keep="last")


def _expect_width(file: FeatureFile, extra: FeatureFile, encoder: Path | None) -> None:
    if extra.x.shape[1] != file.x.shape[1]:
        raise DecorecError(
            f"{encoder}: expected the encoder of {file.origin} ({file.x.shape[1]} values an item), found one with "
            f"{extra.x.shape[1]}; give the encoder that these features were made with"
        )
