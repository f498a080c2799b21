"""The step download and the transfer behind it, against a real server that misbehaves."""

from __future__ import annotations

import gzip
import json
import logging
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import requests
from loopback import Loopback, Turn

from decorec import integrity, transfer
from decorec.config import AmazonDataset, AtomicDataset, DownloadConfig, SampleDataset
from decorec.download import download
from decorec.errors import DecorecError
from decorec.http import backoff, retry_after, session
from decorec.sample.server import shop_server
from decorec.sources.amazon import RELEASES, urls
from decorec.transfer import Stored, fetch

PATH = "/file.json.gz"


def zipped(size: int, seed: int = 0) -> bytes:
    """A gzip file of about ``size`` bytes."""
    return gzip.compress(random.Random(seed).randbytes(size), 1, mtime=0)


def bring(server: Loopback, folder: Path, attempts: int = 8, waits: list[float] | None = None) -> Stored:
    with session() as client:
        sleep = (waits if waits is not None else []).append
        return fetch(server.url + PATH, folder, client, attempts=attempts, timeout=5.0, sleep=sleep)


def test_fetch_stores_the_served_bytes(tmp_path: Path) -> None:
    body = zipped(300_000)
    with Loopback({PATH: body}) as server:
        stored = bring(server, tmp_path)
    assert stored.path.read_bytes() == body
    assert stored.sums.bytes == len(body)
    assert not list(tmp_path.glob("*.part*"))
    assert [request.headers["Accept-Encoding"] for request in server.requests] == ["identity"]
    assert server.requests[0].headers["User-Agent"].startswith("decorec/")


def test_complete_file_is_not_fetched_again(tmp_path: Path) -> None:
    body = zipped(100_000)
    with Loopback({PATH: body}) as server:
        bring(server, tmp_path)
        assert server.served == len(body)
        assert bring(server, tmp_path).path.read_bytes() == body
        assert server.served == len(body)
    assert [request.status for request in server.requests] == [200, 304]


def test_complete_file_serves_when_the_server_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Loopback({PATH: zipped(10_000)}, [Turn(), Turn(status=503)]) as server:
        first = bring(server, tmp_path)
        assert bring(server, tmp_path) == first
    with caplog.at_level(logging.WARNING, "decorec"):
        assert bring(server, tmp_path) == first
    assert "using the cached copy" in caplog.text


def test_changed_file_is_fetched_anew_and_old_outputs_keep_their_bytes(tmp_path: Path) -> None:
    old, new = zipped(50_000, 1), zipped(60_000, 2)
    with Loopback({PATH: old}) as server:
        output = tmp_path / "output.gz"
        output.hardlink_to(bring(server, tmp_path).path)
        server.files[PATH] = new
        assert bring(server, tmp_path).path.read_bytes() == new
    assert output.read_bytes() == old


def test_damaged_cache_is_fetched_anew(tmp_path: Path) -> None:
    body = zipped(50_000)
    with Loopback({PATH: body}) as server:
        path = bring(server, tmp_path).path
        path.write_bytes(body[:-1] + b"x")
        assert bring(server, tmp_path).path.read_bytes() == body


def test_resumes_after_a_reset_in_the_middle(tmp_path: Path) -> None:
    body = zipped(1_000_000)
    with Loopback({PATH: body}, [Turn(cut=400_000), Turn(cut=300_000)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    ranges = [int(request.headers["Range"][6:-1]) for request in server.requests[1:]]
    # A reset may swallow what lay in the sockets' buffers, never what was read before.
    assert 0 < ranges[0] <= 400_000 < ranges[1] + 400_000
    assert ranges[0] < ranges[1] <= 700_000
    etag = f'"{hash(body)}"'
    assert [request.headers["If-Range"] for request in server.requests[1:]] == [etag, etag]
    assert [request.status for request in server.requests] == [200, 206, 206]


def test_file_that_changed_between_connections_starts_over(tmp_path: Path) -> None:
    old, new = zipped(400_000, 1), zipped(400_000, 2)
    with Loopback({PATH: new}, [Turn(cut=200_000, body=old)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == new
    assert [request.status for request in server.requests] == [200, 200]


def test_server_that_ignores_range_starts_over(tmp_path: Path) -> None:
    body = zipped(500_000)
    with Loopback({PATH: body}, [Turn(cut=300_000), Turn(ranges=False)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert "Range" in server.requests[1].headers
    assert [request.status for request in server.requests] == [200, 200]


def test_server_that_continues_elsewhere_starts_over(tmp_path: Path) -> None:
    body = zipped(500_000)
    wrong = Turn(headers={"Content-Range": f"bytes 7-{len(body) - 1}/{len(body)}"})
    with Loopback({PATH: body}, [Turn(cut=300_000), wrong]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert [request.status for request in server.requests] == [200, 206, 200]


def test_server_that_breaks_and_continues_elsewhere_for_ever_is_given_up(tmp_path: Path) -> None:
    wrong = Turn(headers={"Content-Range": "bytes 7-8/9"})
    with (
        Loopback({PATH: zipped(500_000)}, [Turn(cut=200_000), wrong] * 25) as server,
        pytest.raises(DecorecError, match="in a row failed"),
    ):
        bring(server, tmp_path, attempts=4)
    assert len(server.requests) < 12


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    body, waits = zipped(10_000), []
    date = formatdate(time.time() + 100, usegmt=True)
    turns = [Turn(status=429, headers={"Retry-After": "7"}), Turn(status=503, headers={"Retry-After": date})]
    with Loopback({PATH: body}, turns) as server:
        assert bring(server, tmp_path, waits=waits).path.read_bytes() == body
    assert waits[0] == 7.0
    assert 90 < waits[1] <= 101


def test_retry_after_of_hours_is_an_error(tmp_path: Path) -> None:
    with (
        Loopback({PATH: b""}, [Turn(status=429, headers={"Retry-After": "7200"})]) as server,
        pytest.raises(DecorecError, match="asks to wait 7200 s"),
    ):
        bring(server, tmp_path)


def test_gives_up_after_the_given_attempts(tmp_path: Path) -> None:
    waits: list[float] = []
    with (
        Loopback({PATH: b""}, usual=Turn(status=500)) as server,
        pytest.raises(DecorecError, match=r"3 connections in a row failed.*HTTP 500.*run again"),
    ):
        bring(server, tmp_path, attempts=3, waits=waits)
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_progress_resets_the_attempts(tmp_path: Path) -> None:
    body = zipped(2_000_000)
    with Loopback({PATH: body}, [Turn(cut=300_000)] * 6) as server:
        assert bring(server, tmp_path, attempts=2).path.read_bytes() == body


@pytest.mark.parametrize("status", [403, 404, 410])
def test_client_error_is_permanent_and_says_what_to_do(tmp_path: Path, status: int) -> None:
    with (
        Loopback({PATH: b""}, usual=Turn(status=status)) as server,
        pytest.raises(DecorecError, match=rf"{re.escape(server.url + PATH)}.*HTTP {status}.*category and base_url"),
    ):
        bring(server, tmp_path)
    assert len(server.requests) == 1


def test_redirect_loop_is_permanent(tmp_path: Path) -> None:
    with (
        Loopback({PATH: b""}, usual=Turn(status=302, headers={"Location": PATH})) as server,
        pytest.raises(DecorecError, match="check base_url"),
    ):
        bring(server, tmp_path)


def test_content_length_too_large(tmp_path: Path) -> None:
    """The body ends early: the rest is asked for, which a server that lies does not have."""
    body = zipped(100_000)
    with (
        Loopback({PATH: body}, usual=Turn(claim=len(body) + 5_000)) as server,
        pytest.raises(DecorecError, match="connections in a row failed"),
    ):
        bring(server, tmp_path, attempts=3)
    with Loopback({PATH: body}, [Turn(claim=len(body) + 5_000)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body


def test_content_length_too_small(tmp_path: Path) -> None:
    body = zipped(100_000)
    with (
        Loopback({PATH: body}, usual=Turn(claim=len(body) - 5_000)) as server,
        pytest.raises(DecorecError, match="complete gzip file"),
    ):
        bring(server, tmp_path)
    assert not list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "html", "empty"])
def test_damaged_gzip_is_an_error_and_nothing_is_kept(tmp_path: Path, damage: str) -> None:
    body = zipped(100_000)
    bodies = {
        "truncated": body[:-4],
        "flipped": body[:-6] + bytes([body[-6] ^ 1]) + body[-5:],
        "html": b"<html>Please log in</html>",
        "empty": b"",
    }
    with Loopback({PATH: bodies[damage]}) as server:
        with pytest.raises(DecorecError, match="expected a complete gzip file"):
            bring(server, tmp_path)
        assert not list(tmp_path.glob("*.gz")) and not list(tmp_path.glob("*.part"))
        assert len(server.requests) == 1
        server.files[PATH] = body
        assert bring(server, tmp_path).path.read_bytes() == body


def test_pieces_that_do_not_fit_are_fetched_anew(tmp_path: Path) -> None:
    """A server without validators may change the file between two connections; the checksum tells."""
    old, new = zipped(400_000, 1), zipped(400_000, 2)
    nameless = {"ETag": ""}
    assert len(old) == len(new)
    with Loopback({PATH: new}, [Turn(cut=200_000, body=old, headers=nameless), Turn(headers=nameless)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == new
    assert [request.status for request in server.requests] == [200, 206, 200]


def test_labelled_as_encoded_is_stored_as_served(tmp_path: Path) -> None:
    body = zipped(50_000)
    with Loopback({PATH: body}, usual=Turn(headers={"Content-Encoding": "gzip"})) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert len(server.requests) == 1


def test_full_disk_is_found_before_the_body_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(integrity.shutil, "disk_usage", lambda folder: usage)
    with (
        Loopback({PATH: zipped(100_000)}) as server,
        pytest.raises(DecorecError, match=r"free disk under .*free some space"),
    ):
        bring(server, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_two_fetches_of_one_url_do_not_disturb_each_other(tmp_path: Path) -> None:
    body = zipped(600_000)
    found: list[bytes] = []
    with Loopback({PATH: body}, usual=Turn(pause=0.002)) as server:
        threads = [
            threading.Thread(target=lambda: found.append(bring(server, tmp_path).path.read_bytes())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [body] * 3
    assert server.served == len(body)


# The step


CATEGORY = "Prime_Pantry"
REVIEWS = f"/categoryFiles/{CATEGORY}.json.gz"
META = f"/metaFiles2/meta_{CATEGORY}.json.gz"


def outputs(folder: Path) -> dict[str, Path]:
    return {
        "cache": folder / "cache",
        "reviews": folder / "raw" / "reviews.jsonl.gz",
        "meta": folder / "raw" / "meta.jsonl.gz",
        "checksums": folder / "raw" / "checksums.json",
    }


def test_step_over_http(tmp_path: Path) -> None:
    files = {REVIEWS: zipped(200_000, 1), META: zipped(100_000, 2)}
    paths = outputs(tmp_path)
    with Loopback(files) as server:
        dataset = AmazonDataset(source="amazon2018", category=CATEGORY, base_url=server.url + "/")
        download(dataset=dataset, download=DownloadConfig(), **paths)
        shutil.rmtree(tmp_path / "raw")  # as the workflow does before a job
        download(dataset=dataset, download=DownloadConfig(), **paths)
        download(dataset=dataset, download=DownloadConfig(), **paths)
    assert server.served == sum(map(len, files.values()))
    assert paths["reviews"].read_bytes() == files[REVIEWS]
    assert paths["meta"].read_bytes() == files[META]
    facts = json.loads(paths["checksums"].read_text())
    assert facts["reviews"]["url"] == server.url + REVIEWS
    assert facts["meta"]["bytes"] == len(files[META])
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "checksums.json",
        "meta.jsonl.gz",
        "reviews.jsonl.gz",
    ]


@pytest.mark.parametrize("flat", [False, True])
def test_step_from_a_local_copy(tmp_path: Path, flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = Path("mirror with blank")
    for path in (REVIEWS, META):
        target = copy / (path.rpartition("/")[2] if flat else path[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(zipped(50_000))
    paths = outputs(tmp_path)
    dataset = AmazonDataset(source="amazon2018", category=CATEGORY, base_url="file:mirror%20with%20blank")
    download(dataset=dataset, download=DownloadConfig(), **paths)
    assert paths["reviews"].read_bytes() == zipped(50_000)
    damaged = next(copy.rglob(f"{CATEGORY}.json.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(DecorecError, match="complete gzip file"):
        download(dataset=dataset, download=DownloadConfig(), **paths)
    damaged.unlink()
    with pytest.raises(DecorecError, match=r"expected a file, found none.*base_url"):
        download(dataset=dataset, download=DownloadConfig(), **paths)


def test_step_for_the_sample(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for name in ("reviews.json.gz", "meta.json.gz"):
        (shop / name).write_bytes(zipped(10_000))
    paths = outputs(tmp_path)
    download(dataset=SampleDataset(source="sample"), download=DownloadConfig(), shop=shop, **paths)
    assert paths["meta"].read_bytes() == zipped(10_000)
    # The port of the loopback server is nowhere in the outputs: they are the same on every run.
    assert json.loads(paths["checksums"].read_text())["reviews"]["url"] == "http://shop.example/reviews.json.gz"
    # Another shop under the same URLs does not touch this one's files in the cache.
    other = SampleDataset(source="sample", seed=1)
    (shop / "meta.json.gz").write_bytes(zipped(20_000))
    download(dataset=other, download=DownloadConfig(), shop=shop, **paths)
    assert paths["meta"].read_bytes() == zipped(20_000)
    assert len(list((tmp_path / "cache" / "downloads").iterdir())) == 2
    with pytest.raises(DecorecError, match="--shop"):
        download(dataset=SampleDataset(source="sample"), download=DownloadConfig(), **paths)


def test_step_for_a_source_without_files(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="nothing to download"):
        download(
            dataset=AtomicDataset(source="atomic", path="x", name="y"), download=DownloadConfig(), **outputs(tmp_path)
        )


class Victim:
    """Runs the step in a process of its own and kills it when the server has sent enough."""

    def __init__(self, server: Loopback, folder: Path) -> None:
        self.server, self.folder = server, folder

    def start(self) -> subprocess.Popen[bytes]:
        dataset = {"source": "amazon2018", "category": CATEGORY, "base_url": self.server.url}
        flags = [f"--{name}={path}" for name, path in outputs(self.folder).items()]
        command = [sys.executable, "-m", "decorec", "download", "--dataset", json.dumps(dataset), "--download", "{}"]
        return subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL)

    def run_until(self, served: int, delay: float) -> None:
        """Kill ``delay`` seconds after the server has sent ``served`` bytes altogether."""
        reached = threading.Event()
        self.server.watch = lambda so_far: reached.set() if so_far >= served else None
        process = self.start()
        while not reached.wait(0.01) and process.poll() is None:
            pass
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_ten_kills_then_the_same_bytes_and_little_fetched_twice(tmp_path: Path) -> None:
    files = {REVIEWS: zipped(6_000_000, 1), META: zipped(2_000_000, 2)}
    size = sum(map(len, files.values()))
    rng = random.Random(5)
    marks = [*sorted(rng.randrange(size) for _ in range(8)), size, size]
    with Loopback(files, usual=Turn(pause=0.0005)) as server:
        victim = Victim(server, tmp_path)
        for mark in marks:
            victim.run_until(mark, delay=rng.random() * 0.1 if mark == size else 0.0)
        server.watch = lambda served: None
        assert victim.start().wait() == 0
        lost = server.served - size
        assert victim.start().wait() == 0
        assert server.served == size + lost  # nothing that was complete was fetched again
    paths = outputs(tmp_path)
    assert paths["reviews"].read_bytes() == files[REVIEWS]
    assert paths["meta"].read_bytes() == files[META]
    # What a kill loses is what was on its way: a read and the sockets' buffers.
    assert 0 <= lost < 8 * (transfer.CHUNK + 500_000) < sum(marks)
    assert sum(request.status == 206 for request in server.requests) >= 6


# URLs, host map, waits


def test_official_urls() -> None:
    base = "https://mcauleylab.ucsd.edu/public_datasets/data"
    full = AmazonDataset(source="amazon2018", category="Industrial_and_Scientific")
    assert urls(full) == (
        f"{base}/amazon_v2/categoryFiles/Industrial_and_Scientific.json.gz",
        f"{base}/amazon_v2/metaFiles2/meta_Industrial_and_Scientific.json.gz",
    )
    core = AmazonDataset(source="amazon2018", category="Gift_Cards", reviews="5-core")
    assert urls(core)[0] == f"{base}/amazon_v2/categoryFilesSmall/Gift_Cards_5.json.gz"
    assert urls(AmazonDataset(source="amazon2023", category="Baby_Products")) == (
        f"{base}/amazon_2023/raw/review_categories/Baby_Products.jsonl.gz",
        f"{base}/amazon_2023/raw/meta_categories/meta_Baby_Products.jsonl.gz",
    )
    paper = {"Industrial_and_Scientific", "Prime_Pantry", "Arts_Crafts_and_Sewing", "Musical_Instruments"}
    assert paper | {"Office_Products"} <= set(RELEASES["amazon2018"].categories)
    assert [len(release.categories) for release in RELEASES.values()] == [29, 34]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"category": "industrial_and_scientific"}, "did you mean Industrial_and_Scientific"),
        ({"category": "Ofice_Products"}, "did you mean Office_Products"),
        ({"category": "Zzz"}, "expected one of"),
        ({"source": "amazon2023", "category": "Prime_Pantry"}, "no such category"),
        ({"source": "amazon2023", "category": "Software", "reviews": "5-core"}, "remove the key"),
        ({"category": "Software", "base_url": "data/mirror"}, "write file:data/mirror"),
        ({"category": "Software", "base_url": "file://data/mirror"}, "found the host 'data'"),
    ],
)
def test_wrong_places_are_explained(values: dict[str, str], message: str) -> None:
    dataset = AmazonDataset.model_validate({"source": "amazon2018"} | values)
    with pytest.raises(DecorecError, match=message):
        urls(dataset)


def test_host_map_keeps_url_and_host_header(tmp_path: Path) -> None:
    moved = Turn(status=302, headers={"Location": "http://Other.example:81/b"})
    with Loopback({"/b": b"body"}, [moved]) as server:
        target = ("127.0.0.1", server.port)
        with session(connect_to={"shop.example": target, "other.example": target}) as client:
            answer = client.get("http://SHOP.example/a")
            client.get("http://user:word@shop.example:8080/b")
    assert answer.content == b"body"
    assert answer.url.lower() == "http://other.example:81/b"
    hosts = [request.headers["Host"].lower() for request in server.requests]
    assert hosts == ["shop.example", "other.example:81", "shop.example:8080"]


def test_host_map_leaves_other_hosts_alone() -> None:
    with Loopback({"/a": b"a"}) as server, session(connect_to={"shop.example": ("127.0.0.1", 9)}) as client:
        assert client.get(server.url + "/a").content == b"a"
        with pytest.raises(requests.ConnectionError):
            client.get("http://shop.example/a")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("Thursday, 01-Jan-70 00:01:40 GMT", 90.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    headers = requests.structures.CaseInsensitiveDict({} if value is None else {"retry-after": value})
    assert retry_after(headers, now=10.0) == seconds


def test_backoff_is_jittered_and_capped() -> None:
    rng = random.Random(0)
    for attempt, bound in [(0, 0.5), (3, 4.0), (7, 60.0), (10_000, 60.0)]:
        waits = [backoff(attempt, rng) for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound and 0.9 * bound < max(waits) <= bound


# The shop's server


def test_shop_server(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "a b.jpg").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with shop_server(folder) as port, requests.Session() as client:
        base = f"http://127.0.0.1:{port}"
        url = f"{base}/pictures/a%20b.jpg"
        whole = client.get(url)
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        assert whole.headers["Content-Type"] == "image/jpeg"
        head = client.head(url)
        assert (head.headers["Content-Length"], head.content) == ("10", b"")
        for header, body in [
            ("bytes=4-", b"456789"),
            ("bytes=2-3", b"23"),
            ("bytes=-3", b"789"),
            ("bytes=8-99", b"89"),
        ]:
            part = client.get(url, headers={"Range": header, "If-Range": whole.headers["ETag"]})
            assert (part.status_code, part.content) == (206, body)
        assert client.get(url, headers={"Range": "bytes=10-"}).status_code == 416
        assert client.get(url, headers={"Range": "bytes=1-", "If-Range": '"other"'}).status_code == 200
        assert client.get(url, headers={"Range": "lines=1-"}).content == b"0123456789"
        assert client.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
        for path in ("/", "/pictures", "/none.jpg", "/link", "/%2e%2e/secret", "/pictures/..%2f..%2fsecret", "/%00"):
            request = requests.Request("GET", base).prepare()
            request.url = base + path
            assert client.send(request).status_code == 404, path
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=2)
