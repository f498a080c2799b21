"""A machine without open files or disk is told as such; no server and no picture gets the blame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from decorec.acquire.shortage import shortages_told
from decorec.errors import DecorecError
from tests.support.hostile import Hostile
from tests.support.loopback import Loopback, zipped

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
FEW_FILES = """
import os, resource, sys
from pathlib import Path
from decorec.acquire.crawl.step import crawl
from decorec.acquire.download import download
from decorec.config.acquire import CrawlConfig, DownloadConfig
from decorec.config.datasets import AmazonDataset
from decorec.errors import DecorecError
folder, url, spare = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1 + spare, most))
dataset = AmazonDataset(source="amazon2018", category="Prime_Pantry", base_url=url)
try:
"""


def short_of_files(call: str, folder: Path, url: str, spare: int) -> str:
    """What a process says that makes ``call`` and may open ``spare`` files more than it has open."""
    code = FEW_FILES + f"    {call}\nexcept DecorecError as error:\n    print(error)\n"
    command = [sys.executable, "-c", code, str(folder), url, str(spare)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("spare", [14, 24])
def test_a_crawl_without_open_files_ends_with_one_message(tmp_path: Path, spare: int) -> None:
    catalogue = tmp_path / "set" / "items.parquet"
    catalogue.parent.mkdir()
    with Hostile(delay=0.1) as server:
        urls = [f"{server.url}/ok/{number}.jpg" for number in range(60)]
        pl.DataFrame({"item": urls, "image_urls": [[url] for url in urls]}).write_parquet(catalogue)
        settings = "CrawlConfig(private_hosts=True, rate=1e6, per_host=32, concurrency=32, respect_robots=False)"
        files = "catalogue=folder / 'set/items.parquet', cache=folder / 'cache', images=folder / 'set/images.parquet'"
        told = short_of_files(f"crawl(dataset=dataset, settings={settings}, {files})", tmp_path, server.url, spare)
    assert ": too many files are open; raise the limit" in told and told.count("\n") == 1
    assert not (tmp_path / "set" / "images.parquet").exists()
    journal = tmp_path / "cache" / "crawl" / "set.jsonl"
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    assert {json.loads(line)["outcome"]["status"] for line in lines} <= {"ok"}


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_a_download_without_open_files_is_not_tried_again(tmp_path: Path, spare: int) -> None:
    path = "/categoryFiles/Prime_Pantry.json.gz"
    with Loopback({path: zipped(1_000), "/metaFiles2/meta_Prime_Pantry.json.gz": zipped(1_000)}) as server:
        outputs = ", ".join(f"{name}=folder / '{name}'" for name in ("cache", "reviews", "meta", "checksums"))
        call = f"download(dataset=dataset, settings=DownloadConfig(), {outputs})"
        told = short_of_files(call, tmp_path, server.url, spare)
    assert ": too many files are open; raise the limit" in told and told.count("\n") == 1


def test_a_full_disk_is_named_with_the_file() -> None:
    told = pytest.raises(DecorecError, match=r"^cache: the disk is full; free some space")
    with told, shortages_told(Path("cache")), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    with pytest.raises(ZeroDivisionError), shortages_told(Path("cache")):
        _ = 1 / 0
