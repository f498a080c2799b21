"""Step crawl: fetches the pictures of the items and writes a row for every address tried."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl

from decorec.acquire.crawl.estimate import expectation, sample
from decorec.acquire.crawl.frontier import PLACEHOLDER, Frontier
from decorec.acquire.crawl.journal import Journal
from decorec.acquire.crawl.picture_store import Store
from decorec.acquire.crawl.workers import Crew
from decorec.acquire.http_session import HostMap
from decorec.acquire.shortage import shortages_told
from decorec.artifacts import layout
from decorec.artifacts.contents import Contents
from decorec.artifacts.files import read_table, write_table
from decorec.config.acquire import CrawlConfig
from decorec.config.datasets import Dataset, FolderDataset, SampleDataset
from decorec.data.contract import check_images
from decorec.errors import DecorecError

__all__ = ["crawl"]

log = logging.getLogger("decorec")


def crawl(
    *,
    dataset: Dataset,
    settings: CrawlConfig,
    catalogue: Path,
    shop: Path | None = None,
    cache: Path,
    images: Path,
    estimate: int = 0,
) -> None:
    """Fetch one picture per item.

    An item's next picture address is tried only when the one before has failed. A picture is checked by decoding it and
    is stored as a small JPEG. Outcomes are also recorded under the cache folder, and a later run continues where the
    last one ended: addresses with the outcome ok or permanent are not fetched again, those with the outcome transient
    are. An address is also fetched again if a setting that its outcome depends on has changed (crawl.side,
    crawl.max_bytes, ...).

    Args:
        dataset: the data set; of a source of the user's own, its path is the folder of local pictures.
        settings: the section crawl of the configuration.
        catalogue: items.parquet (read): item, image_urls (list of URLs; for these sources also file names relative to
            dataset.path).
        shop: folder of the sample shop (read), which is served on the loopback interface meanwhile; only for source
            sample.
        cache: folder that is kept between runs (read and written): pictures under images/<first two
            digits>/<sha256>.jpg, with the sha256 of the file as served and the shorter side crawl.side; outcomes under
            crawl/; digests of local pictures in contents.json.
        images: images.parquet (written), one row per address tried: item, url, status (ok, permanent, transient),
            http_status, error, attempts, sha256, width, height (pixels of the upright original), bytes, placeholder
            (the same file under 5 or more items); sorted by item, then URL.
        estimate: if not 0, fetch only the first picture of this many items, print the expected time and disk space of
            the whole crawl, and write no table.

    Raises:
        DecorecError: an input is missing or wrong, another crawl of the same data set is running, or this machine is
            short of open files, disk or memory.
    """
    # Problems of servers and pictures are recorded in the table; the libraries would also print each of them.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="PIL")
    table = read_table(catalogue, {"item": pl.String, "image_urls": pl.List(pl.String)})
    names = table["item"].to_list()
    addresses = [[address for address in row or [] if address] for row in table["image_urls"].to_list()]
    if estimate:
        chosen = sample(addresses, estimate)
        tried = [addresses[index][:1] for index in chosen]
        frontier = Frontier([names[index] for index in chosen], tried)
    else:
        frontier = Frontier(names, addresses)
    folder = Path(dataset.path) if isinstance(dataset, FolderDataset) else None
    state = cache / "crawl" / f"{layout.dataset_of(images)}{_fingerprint(shop)}"
    with (
        shortages_told(cache),
        _hosts(dataset, shop) as connect_to,
        Journal(state.with_name(f"{state.name}.jsonl"), settings) as journal,
        closing(Store(cache, state, settings.side, settings.max_pixels)) as store,
    ):
        crew = Crew(settings, store, journal, connect_to, folder, Contents(cache))
        known = crew.work(frontier)
    if estimate:
        firsts = [row[0] for row in addresses if row]
        pace = crew.seconds / max(1, crew.histogram.total()) / settings.concurrency
        print(expectation(frontier, cache, len(firsts), pace * len(firsts), crew.paced(firsts)))
        return
    result = frontier.table()
    check_images(images, result, names)
    write_table(images, result)
    _summarise(result, len(names), known)


@contextmanager
def _hosts(dataset: Dataset, shop: Path | None) -> Iterator[HostMap]:
    if not isinstance(dataset, SampleDataset):
        yield {}
        return
    if shop is None or not shop.is_dir():
        raise DecorecError(
            f"--shop: expected the folder that the step sample writes, found {shop}; run that step first"
        )
    from decorec.acquire.sample.server import HOST, shop_server

    with shop_server(shop) as port:
        yield {HOST: ("127.0.0.1", port)}


def _fingerprint(shop: Path | None) -> str:
    """Tells generated shops apart: they have the same addresses but different pictures."""
    if shop is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in shop.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(shop)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"-{digest.hexdigest()[:16]}"


def _summarise(table: pl.DataFrame, items: int, known: Collection[str]) -> None:
    pictures = table.filter(pl.col("status") == "ok")
    asked = set(table["url"])
    log.info(
        "crawl: %d items in, %d with a picture (%d different), %d picture addresses tried, %d of them in earlier runs",
        items,
        pictures.height,
        pictures["sha256"].n_unique(),
        len(asked),
        sum(address in known for address in asked),
    )
    errors = Counter(table["error"].drop_nulls())
    if errors:
        log.info("crawl: failures: %s", ", ".join(f"{name} {count}" for name, count in errors.most_common()))
    shared = Counter(pictures.filter(pl.col("placeholder"))["sha256"])
    if shared:
        shown = ", ".join(f"{sha256[:12]} under {count} items" for sha256, count in shared.most_common(5))
        log.info("crawl: %d files under %d or more items each (placeholders?): %s", len(shared), PLACEHOLDER, shown)
