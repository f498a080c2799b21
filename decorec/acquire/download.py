"""Step download: fetches the reviews and the metadata of a data set, as served."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import requests

from decorec.acquire.checksums import Sums, gzip_problem, require_space, sums
from decorec.acquire.http_session import session
from decorec.acquire.resumable_download import fetch
from decorec.acquire.sample.server import HOST, shop_server
from decorec.acquire.shortage import shortages_told
from decorec.acquire.sources import amazon
from decorec.artifacts.files import atomic_path, write_json
from decorec.config.acquire import DownloadConfig
from decorec.config.datasets import AmazonDataset, Dataset, SampleDataset
from decorec.errors import DecorecError
from decorec.progress import progress

__all__ = ["download"]

log = logging.getLogger("decorec")

CHUNK = 1 << 20


def _publish(source: Path, target: Path) -> None:
    """Make the cached file the output: as a hard link where the file system has them, else as a copy."""
    if target.exists() and target.samefile(source):  # renaming one name of a file to another does nothing
        os.utime(target)
        return
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without hard links
            require_space(target.parent, source.stat().st_size, str(target))
            shutil.copyfile(source, temporary)
    os.utime(target)


def _copy(source: Path, target: Path, url: str) -> Sums:
    """Copy a local file with the same checks as a remote one."""
    if not source.is_file():
        raise DecorecError(f"{url}: expected a file, found none; check the data set's category and base_url")
    if problem := gzip_problem(source):
        raise DecorecError(f"{url}: expected a complete gzip file, found {problem}; get a new copy")
    size = source.stat().st_size
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, size, url)
    with (
        atomic_path(target) as temporary,
        source.open("rb") as reader,
        temporary.open("wb") as writer,
        progress(f"copying {source.name}", size, unit="B") as advance,
    ):
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
            advance(len(chunk))
    return sums(target)


def _bring(
    wanted: Mapping[str, tuple[str, Path]], client: requests.Session, options: DownloadConfig, cache: Path
) -> dict[str, tuple[str, Sums]]:
    """Fetch every file in ``wanted`` (name -> (URL, target)) through ``cache``; returns name -> (URL, checksums)."""
    found = {}
    for name, (url, target) in wanted.items():
        if (path := amazon.local_path(url)) is not None:
            found[name] = (url, _copy(path, target, url))
        else:
            stored = fetch(url, cache, client, attempts=options.attempts, timeout=options.timeout)
            _publish(stored.path, target)
            found[name] = (stored.remote.url, stored.sums)
    return found


def download(
    *,
    dataset: Dataset,
    settings: DownloadConfig,
    cache: Path,
    reviews: Path,
    meta: Path,
    checksums: Path,
    shop: Path | None = None,
) -> None:
    """Fetch the reviews and the metadata of a data set, as served, and write their checksums.

    A broken download continues where it stopped. A complete one is not fetched again unless the server's file changed.

    Args:
        dataset: the data set, of the source sample, amazon2018 or amazon2023.
        settings: the section download of the configuration.
        cache: folder that is kept between runs (read and written): complete and partial downloads under downloads/.
        reviews: the reviews (written): gzip, one JSON object per line.
        meta: the metadata of the items (written): gzip, one JSON object per line.
        checksums: a JSON file (written): url (without a user and a password), bytes and sha256 of both files.
        shop: folder of the sample shop (read), which is served on the loopback interface meanwhile; only for source
            sample.

    Raises:
        DecorecError: the category is unknown, a file is missing or damaged, there is no connection or too little disk
            space or open files, or the source has nothing to download.
    """
    if isinstance(dataset, SampleDataset):
        if shop is None:
            raise DecorecError("--shop: expected the folder of the sample shop, found nothing; run the step sample")
        urls = (f"http://{HOST}/reviews.json.gz", f"http://{HOST}/meta.json.gz")
    elif isinstance(dataset, AmazonDataset):
        urls = amazon.urls(dataset)
    else:
        raise DecorecError(f"--dataset: source {dataset.source} has nothing to download; its files are under its path")
    wanted = {"reviews": (urls[0], reviews), "meta": (urls[1], meta)}
    with shortages_told(cache):
        if isinstance(dataset, SampleDataset) and shop is not None:
            # All sample shops have the same URLs, so each one gets a folder of its own.
            folder = cache / "downloads" / f"sample-{dataset.items}-{dataset.users}-{dataset.seed}"
            with shop_server(shop) as port, session(connect_to={HOST: ("127.0.0.1", port)}) as client:
                found = _bring(wanted, client, settings, folder)
        else:
            with session() as client:
                found = _bring(wanted, client, settings, cache / "downloads")
    write_json(checksums, {name: {"url": url, **asdict(values)} for name, (url, values) in found.items()})
    for name, (url, values) in found.items():
        log.info("download: %s: %d bytes from %s", name, values.bytes, url)
