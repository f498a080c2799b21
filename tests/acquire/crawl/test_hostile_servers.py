"""The step crawl against a server on which everything goes wrong: each address ends in the right row, in time."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from PIL import Image

import decorec.acquire.crawl.step as step
from decorec.acquire.crawl.step import crawl
from decorec.acquire.http_session import HostMap
from decorec.artifacts.layout import picture_path
from decorec.config.acquire import CrawlConfig
from decorec.config.datasets import AmazonDataset, TableDataset
from tests.support.hostile import LOGIN, Hostile, picture

AMAZON = AmazonDataset(source="amazon2018", category="Test")
HOSTS = ("shop.test", "busy.test", "closed.test", "flaky.test")
USUAL: dict[str, Any] = {"timeout": 60.0, "deadline": 120.0, "attempts": 2, "max_bytes": 2_000_000}


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """A hostile server under public names, so that private addresses stay forbidden."""
    with Hostile() as server:

        @contextmanager
        def hosts(dataset: object, shop: object) -> Iterator[HostMap]:
            yield dict.fromkeys(HOSTS, ("127.0.0.1", server.port))

        monkeypatch.setattr(step, "_hosts", hosts)
        yield server


def run(folder: Path, addresses: dict[str, list[str]], dataset: Any = AMAZON, **settings: Any) -> dict[str, Any]:
    """Crawl ``addresses`` (item -> list); returns the rows by (item, url)."""
    catalogue, images = folder / "set" / "items.parquet", folder / "set" / "images.parquet"
    catalogue.parent.mkdir(exist_ok=True)
    schema = {"item": pl.String, "image_urls": pl.List(pl.String)}
    pl.DataFrame([list(addresses), list(addresses.values())], schema=schema).write_parquet(catalogue)
    config = CrawlConfig(**{**USUAL, **settings})
    crawl(dataset=dataset, settings=config, catalogue=catalogue, cache=folder / "cache", images=images)
    return {row["url"]: row for row in pl.read_parquet(images).iter_rows(named=True)}


LONG = "http://shop.test/ok/9.jpg?" + "q" * 4_000
EXPECTED: dict[str, tuple[str, int | None, str | None]] = {
    "http://shop.test/ok/1.jpg": ("ok", 200, None),
    "http://shop.test/ok/2 with blank.jpg": ("ok", 200, None),
    "http://shop.test/ok/größe-3-商品.jpg": ("ok", 200, None),
    "HTTP://SHOP.TEST/ok/4.jpg": ("ok", 200, None),
    LONG: ("ok", 200, None),
    "http://shop.test/gzip.jpg": ("ok", 200, None),
    "http://shop.test/chain/4": ("ok", 200, None),
    "http://shop.test/404.jpg": ("permanent", 404, "not-found"),
    "http://shop.test/403.jpg": ("permanent", 403, "forbidden"),
    "http://shop.test/410.jpg": ("permanent", 410, "gone"),
    "http://shop.test/418.jpg": ("permanent", 418, "http-418"),
    "http://shop.test/304.jpg": ("permanent", 304, "http-304"),
    "http://shop.test/500.jpg": ("transient", 500, "server-error"),
    "http://shop.test/503.jpg": ("transient", 503, "unavailable"),
    "http://shop.test/408.jpg": ("transient", 408, "timeout"),
    "http://shop.test/425.jpg": ("transient", 425, "too-early"),
    "http://flaky.test/flaky/1.jpg": ("ok", 200, None),
    "http://busy.test/busy/1.jpg": ("ok", 200, None),
    "http://closed.test/closed/1.jpg": ("transient", 503, "unavailable"),
    "http://shop.test/reset.jpg": ("transient", 200, "connection-reset"),
    "http://shop.test/short.jpg": ("transient", 200, "truncated"),
    "http://shop.test/long.jpg": ("permanent", 200, "truncated"),
    "http://shop.test/garbage.jpg": ("transient", None, "bad-response"),
    "http://shop.test/loop.jpg": ("permanent", 302, "redirect-loop"),
    "http://shop.test/circle/1": ("permanent", 302, "redirect-loop"),
    "http://shop.test/chain/9": ("permanent", 301, "too-many-redirects"),
    "http://shop.test/elsewhere/": ("permanent", 302, "bad-redirect"),
    "http://shop.test/elsewhere/file:///etc/passwd": ("permanent", None, "bad-url"),
    "http://shop.test/elsewhere/ftp://shop.test/x.jpg": ("permanent", None, "bad-url"),
    "http://shop.test/elsewhere/http://10.0.0.1/x.jpg": ("permanent", None, "private-address"),
    "http://shop.test/elsewhere/http://169.254.169.254/latest": ("permanent", None, "private-address"),
    "http://shop.test/elsewhere/http://[::ffff:127.0.0.1]/x.jpg": ("permanent", None, "private-address"),
    "http://127.0.0.1:9/x.jpg": ("permanent", None, "private-address"),
    "http://2130706433/x.jpg": ("permanent", None, "private-address"),
    "http://localhost/x.jpg": ("permanent", None, "private-address"),
    "http://host.invalid/x.jpg": ("transient", None, "dns"),
    "http://shop.test/wild-headers": ("transient", 503, "unavailable"),
    "http://shop.test/999.jpg": ("permanent", 999, "http-999"),
    "http://shop.test/html.jpg": ("permanent", 200, "not-an-image"),
    "http://shop.test/cut.jpg": ("permanent", 200, "truncated"),
    "http://shop.test/empty.jpg": ("permanent", 200, "empty"),
    "http://shop.test/204.jpg": ("permanent", 204, "empty"),
    "http://shop.test/bomb.png": ("permanent", 200, "bomb"),
    "http://shop.test/huge": ("permanent", 200, "too-large"),
    "http://shop.test/huge/announced": ("permanent", 200, "too-large"),
    "http://shop.test/gzip-bomb": ("permanent", 200, "too-large"),
    "http://shop.test/brotli": ("permanent", 200, "bad-encoding"),
    "http://shop.test/opted-out.jpg": ("permanent", 200, "opted-out"),
    "ftp://shop.test/x.jpg": ("permanent", None, "bad-url"),
    "javascript:alert(1)": ("permanent", None, "bad-url"),
    "http://": ("permanent", None, "bad-url"),
    "http://shop.test:99999/x.jpg": ("permanent", None, "bad-url"),
    "http://[::1/x.jpg": ("permanent", None, "bad-url"),
    "http://a..b/x.jpg": ("permanent", None, "bad-url"),
    f"http://{'a' * 70}.test/x.jpg": ("permanent", None, "bad-url"),
    "http://sh%5Bop.test/x.jpg": ("transient", None, "dns"),
    "http://sh\0op.test/x.jpg": ("permanent", None, "bad-url"),
    "http://bücher..test/x.jpg": ("permanent", None, "bad-url"),
    "http://shop .test/x.jpg": ("permanent", None, "bad-url"),
    "http://user:secret@shop.test/ok/6.jpg": ("ok", 200, None),
    "http://shop.test/ok/7%ZZ.jpg\r\nX: y": ("ok", 200, None),
    "no url at all": ("permanent", None, "bad-url"),
}


def test_every_address_ends_in_the_right_row(mapped: Hostile, tmp_path: Path) -> None:
    rows = run(tmp_path, {f"item {number}": [url] for number, url in enumerate(EXPECTED)}, concurrency=32)
    found = {url: (row["status"], row["http_status"], row["error"]) for url, row in rows.items()}
    assert found == {url.replace("user:secret@", ""): outcome for url, outcome in EXPECTED.items()}
    for row in rows.values():
        if row["status"] == "ok":
            with Image.open(picture_path(tmp_path / "cache", row["sha256"])) as stored:
                assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (row["width"], row["height"]))


def test_counts_hashes_and_sizes_are_those_of_the_body(mapped: Hostile, tmp_path: Path) -> None:
    urls = [f"http://{name}" for name in ("shop.test/ok/5.jpg", "flaky.test/flaky/6.jpg", "shop.test/html.jpg")]
    rows = run(tmp_path, {"a": [urls[0]], "b": [urls[1]], "c": [urls[2]]})
    assert [rows[url]["attempts"] for url in urls] == [1, 2, 1]
    for url, number in zip(urls[:2], (5, 6), strict=True):
        body = picture(number)
        row = rows[url]
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(body).hexdigest(), len(body))
        assert (row["width"], row["height"]) == (60, 40)
    assert rows[urls[2]]["bytes"] > 0 and rows[urls[2]]["width"] is None


def test_slow_servers_cost_no_more_than_the_deadline(mapped: Hostile, tmp_path: Path) -> None:
    names = [f"{kind}/{i}" for kind in ("hang", "drip", "dripping-headers") for i in range(8)]
    urls = [f"http://shop.test/{name}" for name in names]
    rows = run(tmp_path, {url: [url] for url in urls}, concurrency=24, attempts=9, timeout=0.5, deadline=1.5)
    # An attempt at a server that hangs takes half a second, and none begins after the deadline, however slow we are.
    assert all(row["attempts"] <= 3 for row in rows.values())
    assert {row["status"] for row in rows.values()} == {"transient"}
    assert {row["error"] for row in rows.values()} <= {"timeout", "deadline"}


def test_retry_after_is_waited_for_and_a_long_one_closes_the_host(mapped: Hostile, tmp_path: Path) -> None:
    run(tmp_path, {"a": ["http://busy.test/busy/1.jpg"]})
    first, second = mapped.times[-2:]
    assert second - first >= 1.0
    rows = run(tmp_path, {f"{i}": [f"http://closed.test/closed/{i}"] for i in range(40)}, concurrency=4)
    assert {row["status"] for row in rows.values()} == {"transient"}
    assert {row["error"] for row in rows.values()} == {"unavailable", "host-unavailable"}
    asked = [row for row in rows.values() if row["attempts"]]
    assert len(asked) <= 4
    assert sum(count for path, count in mapped.requests.items() if path.startswith("/closed")) == len(asked)


def test_next_address_only_when_the_one_before_failed(mapped: Hostile, tmp_path: Path) -> None:
    def url(name: str) -> str:
        return f"http://shop.test/{name}"

    addresses = {
        "first": [url("ok/1.jpg"), url("ok/2.jpg")],
        "second": [url("404.jpg"), url("html.jpg"), url("ok/3.jpg"), url("ok/4.jpg")],
        "shared": [url("404.jpg"), url("404.jpg"), url("ok/1.jpg")],
        "hopeless": [url("410.jpg")],
        "none": [],
    }
    run(tmp_path, addresses)
    table = pl.read_parquet(tmp_path / "set" / "images.parquet")
    assert list(zip(table["item"], table["url"].str.strip_prefix("http://shop.test/"), strict=True)) == [
        ("first", "ok/1.jpg"),
        ("second", "404.jpg"),
        ("second", "html.jpg"),
        ("second", "ok/3.jpg"),
        ("shared", "404.jpg"),
        ("shared", "ok/1.jpg"),
        ("hopeless", "410.jpg"),
    ]
    del mapped.requests["/robots.txt"]
    assert mapped.requests == {f"/{name}": 1 for name in ("ok/1.jpg", "404.jpg", "html.jpg", "ok/3.jpg", "410.jpg")}


def test_thousand_items_with_one_placeholder(mapped: Hostile, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    addresses = {f"p{i}": [f"http://shop.test/placeholder/{i}.jpg"] for i in range(500)}
    addresses |= {f"q{i}": ["http://shop.test/placeholder/same.jpg"] for i in range(500)}
    addresses |= {f"r{i}": ["http://shop.test/ok/1.jpg"] for i in range(4)}
    with caplog.at_level("INFO", logger="decorec"):
        run(tmp_path, addresses)
    table = pl.read_parquet(tmp_path / "set" / "images.parquet")
    sha256 = hashlib.sha256(picture(9_999)).hexdigest()
    assert table.filter(pl.col("sha256") == sha256).height == 1_000
    assert table["placeholder"].to_list() == [True] * 1_000 + [False] * 4
    assert f"{sha256[:12]} under 1000 items" in caplog.text
    assert mapped.requests["/placeholder/same.jpg"] == 1
    assert len(list((tmp_path / "cache" / "images").rglob("*.jpg"))) == 2


def memory_of_group(process: subprocess.Popen[bytes]) -> dict[int, int]:
    """Largest resident memory (kB) of ``process`` and of each that it starts, by the kernel's own marks, to its end."""
    marks: dict[int, int] = {}
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, StopIteration):  # it has ended meanwhile
                if os.getpgid(int(path.name)) == process.pid:
                    lines = (path / "status").read_text().splitlines()
                    marks[int(path.name)] = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        time.sleep(0.02)
    return marks


def test_memory_stays_bounded(tmp_path: Path) -> None:
    catalogue, images = tmp_path / "set" / "items.parquet", tmp_path / "set" / "images.parquet"
    catalogue.parent.mkdir()
    with Hostile() as server:
        urls = [f"{server.url}/{name}/{i}" for i in range(12) for name in ("huge", "bomb", "gzip-bomb")]
        pl.DataFrame({"item": urls, "image_urls": [[url] for url in urls]}).write_parquet(catalogue)
        config = {"private_hosts": True, "rate": 1e6, "per_host": 16, "max_bytes": 5_000_000}
        command = [sys.executable, "-m", "decorec", "crawl", "--dataset", AMAZON.model_dump_json()]
        files = ["--catalogue", str(catalogue), "--cache", str(tmp_path / "cache"), "--images", str(images)]
        with subprocess.Popen([*command, "--settings", json.dumps(config), *files], start_new_session=True) as process:
            peaks = memory_of_group(process)
        assert process.returncode == 0
    assert set(pl.read_parquet(images)["error"]) == {"too-large", "bomb"}
    # 12 bodies of 200 MB that do not end at the limit of 5 MB each, but for what lies in buffers between.
    assert server.served < 12 * 15e6
    own = peaks.pop(process.pid)
    assert own < 600_000, "kilobytes"
    decoders = 2 * len(os.sched_getaffinity(0)) + 1  # and the process that they are forked off
    assert peaks
    assert sum(peaks.values()) < 600_000 * decoders, "kilobytes; pages that they share are counted for each"


def test_rate_and_concurrency_hold_per_host(tmp_path: Path) -> None:
    with Hostile(delay=0.05) as server:
        addresses = {f"{i}": [f"{server.url}/ok/{i}.jpg"] for i in range(30)}
        start = time.monotonic()
        run(tmp_path, addresses, private_hosts=True, rate=20.0, per_host=3, concurrency=16, respect_robots=False)
        assert server.busiest <= 3
        # A token bucket: three at once, then one every twentieth of a second.
        assert server.times[-1] - start >= (30 - 3) / 20.0
        assert server.agents == {CrawlConfig().user_agent}


def test_robots_are_obeyed_and_fetched_once(tmp_path: Path) -> None:
    rules = "User-agent: decorec\nDisallow: /ok/1\nCrawl-delay: 0.2\n\nUser-agent: *\nDisallow: /\n"
    with Hostile(robots=rules) as server:
        addresses = {f"{i}": [f"{server.url}/ok/{i}.jpg"] for i in range(5)}
        rows = run(tmp_path, addresses, private_hosts=True)
        assert [row["error"] for row in rows.values()] == [None, "robots", None, None, None]
        assert server.requests["/robots.txt"] == 1 and server.requests["/ok/1.jpg"] == 0
        rows = run(tmp_path, addresses, private_hosts=True, respect_robots=False)
        assert {row["status"] for row in rows.values()} == {"ok"}
        assert server.requests == {"/robots.txt": 1, **{f"/ok/{i}.jpg": 1 for i in range(5)}}


def test_opt_out_is_obeyed_unless_configured_otherwise(mapped: Hostile, tmp_path: Path) -> None:
    url = "http://shop.test/opted-out.jpg"
    assert run(tmp_path, {"a": [url]})[url]["error"] == "opted-out"
    assert run(tmp_path, {"a": [url]}, respect_robots=False)[url]["status"] == "ok"


def test_passwords_of_addresses_are_sent_to_their_host_and_kept_nowhere(
    mapped: Hostile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user, _, password = LOGIN.partition(":")

    def addresses(word: str) -> dict[str, list[str]]:
        login = f"{quote(user)}:{quote(word, safe='')}@"
        return {
            "locked": [f"http://{login}shop.test/locked/1.jpg"],
            "same": [f"http://{login}shop.test/elsewhere/http://shop.test/locked/2.jpg"],
            "other": [f"http://{login}shop.test/elsewhere/http://flaky.test/bare/3.jpg"],
        }

    for word, first in (("wrong", "unauthorised"), (password, None)):
        with caplog.at_level("DEBUG"):
            rows = run(tmp_path, addresses(word))
        assert {url.removeprefix("http://shop.test/"): row["error"] for url, row in rows.items()} == {
            "locked/1.jpg": first,
            "elsewhere/http://shop.test/locked/2.jpg": first,
            "elsewhere/http://flaky.test/bare/3.jpg": None,
        }
    (tmp_path / "set" / "items.parquet").unlink()  # the table that the addresses come from
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + caplog.text.encode()
    for secret in (password, quote(password, safe=""), "wrong", base64.b64encode(LOGIN.encode()).decode()):
        assert secret.encode() not in kept


def test_local_files_go_the_same_way(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "good.png").write_bytes(picture(1, (500, 400), "PNG"))
    (folder / "images" / "bad.jpg").write_bytes(b"<html>")
    (tmp_path / "secret.jpg").write_bytes(picture(2))
    dataset = TableDataset(source="table", path=str(folder))
    addresses = {
        "good": ["images/good.png"],
        "second": ["images/bad.jpg", "images/../images/good.png"],
        "missing": ["images/none.jpg", "images"],
        "out": ["../secret.jpg", "images/../../secret.jpg", str(tmp_path / "secret.jpg"), "x" * 4_000, "a\0b"],
        "url": ["file:///etc/passwd"],
    }
    rows = run(tmp_path, addresses, dataset)
    assert {url: row["error"] for url, row in rows.items()} == {
        "images/good.png": None,
        "images/bad.jpg": "not-an-image",
        "images/../images/good.png": None,
        "images/none.jpg": "missing-file",
        "images": "missing-file",
        "../secret.jpg": "outside-folder",
        "images/../../secret.jpg": "outside-folder",
        str(tmp_path / "secret.jpg"): "outside-folder",
        "x" * 4_000: "missing-file",
        "a\0b": "missing-file",
        "file:///etc/passwd": "bad-url",
    }
    with Image.open(picture_path(tmp_path / "cache", rows["images/good.png"]["sha256"])) as stored:
        assert stored.size == (320, 256)
    (folder / "images" / "bad.jpg").write_bytes(picture(3))
    (folder / "images" / "none.jpg").write_bytes(picture(4))
    rows = run(tmp_path, addresses, dataset)
    assert rows["images/bad.jpg"]["status"] == rows["images/none.jpg"]["status"] == "ok"


def test_a_local_file_is_read_again_for_its_content_and_not_for_its_time(tmp_path: Path) -> None:
    file = tmp_path / "own" / "a.jpg"
    file.parent.mkdir()
    dataset = TableDataset(source="table", path=str(file.parent))

    def fetched(content: bytes, time: int) -> tuple[str, int]:
        """The checksum in the table, and the number of attempts so far."""
        with file.open("r+b" if file.exists() else "wb") as handle:
            handle.write(content)
        os.utime(file, (time, time))
        (row,) = run(tmp_path, {"a": ["a.jpg"]}, dataset).values()
        (journal,) = (tmp_path / "cache" / "crawl").glob("*.jsonl")
        return row["sha256"], len(journal.read_text().splitlines())

    first, second = picture(1) + b"1", picture(1) + b"2"
    assert fetched(first, 1_000) == fetched(first, 2_000) == (hashlib.sha256(first).hexdigest(), 1)
    assert fetched(second, 2_000) == (hashlib.sha256(second).hexdigest(), 2), "of the size and the time of the first"
