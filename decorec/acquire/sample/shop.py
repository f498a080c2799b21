"""Step sample: generates the sample shop; the same seed gives the same bytes."""

from __future__ import annotations

import gzip
import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from decorec.acquire.sample.customers import Purchases, draw_purchases
from decorec.acquire.sample.dirt import Dirt, choose_dirt, html_page
from decorec.acquire.sample.pictures import draw_picture, placeholder, thumbnail
from decorec.acquire.sample.products import Products, draw_products
from decorec.acquire.sample.records import meta_lines, review_lines
from decorec.artifacts.files import atomic_path
from decorec.config.datasets import SampleDataset
from decorec.progress import track

__all__ = ["draw_shop", "sample"]

log = logging.getLogger("decorec")


def _stream(seed: int, *path: int) -> np.random.Generator:
    """Independent random numbers for each part, so that a change of one part does not change the others."""
    return np.random.default_rng([seed, *path])


def _write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write gzip without time stamp and file name (equal lines give equal bytes); returns the number of lines."""
    count = 0
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as handle,
    ):
        for line in lines:
            handle.write(line)
            count += 1
    return count


def _write_pictures(folder: Path, products: Products, dirt: Dirt, seed: int) -> int:
    """Write all pictures that exist, including broken ones; returns the number of files."""
    absent = dirt["no metadata"] | dirt["no picture"] | dirt["dead link"]
    for item in track(range(len(products)), "drawing pictures", unit="pictures"):
        if item in absent:
            continue
        name = products.asin[item]
        content = draw_picture(products, item, _stream(seed, 3, item))
        if item in dirt["truncated picture"]:
            content = content[: len(content) // 2]
        elif item in dirt["html as picture"]:
            content = html_page()
        elif item in dirt["placeholder"]:
            content = placeholder()
        else:
            (folder / f"{name}._SS60_.jpg").write_bytes(thumbnail(content))
        (folder / f"{name}.jpg").write_bytes(content)
    return sum(1 for _ in folder.iterdir())


def draw_shop(dataset: SampleDataset) -> tuple[Products, Purchases, Dirt]:
    """Products, purchases and defects of the shop that ``dataset`` describes."""
    products = draw_products(dataset.items, _stream(dataset.seed, 0))
    purchases = draw_purchases(products, dataset.users, _stream(dataset.seed, 1))
    return products, purchases, choose_dirt(dataset.items, _stream(dataset.seed, 2))


def sample(*, dataset: SampleDataset, reviews: Path, meta: Path, pictures: Path) -> None:
    """Generate the sample shop in Amazon-2018 format.

    The URLs in the metadata have a made-up host name. The steps download and crawl map it to a local server.

    Args:
        dataset: the data set, of the source sample: numbers of items and users, and the seed.
        reviews: the reviews (written): gzip, one JSON object per line.
        meta: the metadata of the items (written): gzip, one JSON object per line.
        pictures: folder of the pictures (written): JPEG files, some of them broken on purpose.
    """
    products, purchases, dirt = draw_shop(dataset)
    pictures.parent.mkdir(parents=True, exist_ok=True)
    for left in pictures.parent.glob(".pictures.*"):  # by a step that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=pictures.parent, prefix=".pictures.") as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        files = _write_pictures(folder, products, dirt, dataset.seed)
        if pictures.exists():
            shutil.rmtree(pictures)
        folder.replace(pictures)
    records = _write_lines(meta, meta_lines(products, dirt, _stream(dataset.seed, 4)))
    lines = _write_lines(reviews, review_lines(products, purchases, dataset.users, _stream(dataset.seed, 5)))
    log.info("sample: %d metadata lines, %d review lines, %d picture files", records, lines, files)
