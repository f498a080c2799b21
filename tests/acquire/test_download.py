"""The step download: places, sources, kills."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from decorec.acquire import resumable_download
from decorec.acquire.download import download
from decorec.acquire.sources.amazon import RELEASES, urls
from decorec.config.acquire import DownloadConfig
from decorec.config.datasets import AmazonDataset, AtomicDataset, SampleDataset
from decorec.errors import DecorecError
from tests.support.loopback import Loopback, Turn, zipped

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
        download(dataset=dataset, settings=DownloadConfig(), **paths)
        shutil.rmtree(tmp_path / "raw")  # as the workflow does before a job
        download(dataset=dataset, settings=DownloadConfig(), **paths)
        download(dataset=dataset, settings=DownloadConfig(), **paths)
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


def test_a_password_is_sent_and_kept_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {REVIEWS: zipped(20_000, 1), META: zipped(10_000, 2)}
    caplog.set_level("DEBUG")
    messages = []
    with Loopback(files, login="us er:p@ss/word") as server:

        def bring(folder: Path, password: str, port: int = server.port) -> None:
            base_url = f"http://us%20er:{password}@127.0.0.1:{port}"
            dataset = AmazonDataset(source="amazon2018", category=CATEGORY, base_url=base_url)
            download(dataset=dataset, settings=DownloadConfig(attempts=1, timeout=2), **outputs(folder))

        bring(tmp_path / "good", "p%40ss%2Fword")
        bring(tmp_path / "good", "p%40ss%2Fword")
        assert server.served == sum(map(len, files.values()))
        for port in (server.port, 9, 99_999):  # refused, unreachable, no address
            with pytest.raises(DecorecError) as caught:
                bring(tmp_path / "bad", "wr0ng", port)
            messages.append(str(caught.value))
    assert json.loads((tmp_path / "good" / "raw" / "checksums.json").read_text())["meta"]["url"] == server.url + META
    assert [problem in text for problem, text in zip(("401", "refused", "99999"), messages, strict=True)] == [True] * 3
    kept = b"".join(str(path).encode() + path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (kept.decode(errors="replace"), caplog.text, *messages):
        assert not re.search("us%20er|us er|p%40ss|p@ss|wr0ng", text)


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
    download(dataset=dataset, settings=DownloadConfig(), **paths)
    assert paths["reviews"].read_bytes() == zipped(50_000)
    damaged = next(copy.rglob(f"{CATEGORY}.json.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    with pytest.raises(DecorecError, match="complete gzip file"):
        download(dataset=dataset, settings=DownloadConfig(), **paths)
    damaged.unlink()
    with pytest.raises(DecorecError, match=r"expected a file, found none.*base_url"):
        download(dataset=dataset, settings=DownloadConfig(), **paths)


def test_step_for_the_sample(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for name in ("reviews.json.gz", "meta.json.gz"):
        (shop / name).write_bytes(zipped(10_000))
    paths = outputs(tmp_path)
    download(dataset=SampleDataset(source="sample"), settings=DownloadConfig(), shop=shop, **paths)
    assert paths["meta"].read_bytes() == zipped(10_000)
    # The port of the loopback server is nowhere in the outputs: they are the same on every run.
    assert json.loads(paths["checksums"].read_text())["reviews"]["url"] == "http://shop.example/reviews.json.gz"
    # Another shop under the same URLs does not touch this one's files in the cache.
    other = SampleDataset(source="sample", seed=1)
    (shop / "meta.json.gz").write_bytes(zipped(20_000))
    download(dataset=other, settings=DownloadConfig(), shop=shop, **paths)
    assert paths["meta"].read_bytes() == zipped(20_000)
    assert len(list((tmp_path / "cache" / "downloads").iterdir())) == 2
    with pytest.raises(DecorecError, match="--shop"):
        download(dataset=SampleDataset(source="sample"), settings=DownloadConfig(), **paths)


def test_step_for_a_source_without_files(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="nothing to download"):
        download(
            dataset=AtomicDataset(source="atomic", path="x", name="y"), settings=DownloadConfig(), **outputs(tmp_path)
        )


class Victim:
    """Runs the step in a process of its own and kills it when the server has sent enough."""

    def __init__(self, server: Loopback, folder: Path) -> None:
        self.server, self.folder = server, folder

    def start(self) -> subprocess.Popen[bytes]:
        dataset = {"source": "amazon2018", "category": CATEGORY, "base_url": self.server.url}
        flags = [f"--{name}={path}" for name, path in outputs(self.folder).items()]
        command = [sys.executable, "-m", "decorec", "download", "--dataset", json.dumps(dataset), "--settings", "{}"]
        return subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL)

    def run_until(self, served: int, delay: float) -> None:
        """Kill ``delay`` seconds after the server has sent ``served`` bytes altogether."""
        reached, killed = threading.Event(), threading.Event()

        def hold(so_far: int) -> None:
            """Send no more until the process is dead, however long that takes."""
            if so_far >= served:
                reached.set()
                killed.wait()

        self.server.watch = hold
        process = self.start()
        while not reached.wait(0.01) and process.poll() is None:
            pass
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.set()


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
    assert 0 <= lost < 8 * (resumable_download.CHUNK + 500_000) < sum(marks)
    assert sum(request.status == 206 for request in server.requests) >= 6


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


@pytest.mark.parametrize("base_url", ["ftp://me:secret@host/mirror", "//me:secret@host", "file://me:secret@host/x"])
def test_a_password_in_a_wrong_place_is_not_printed(base_url: str) -> None:
    with pytest.raises(DecorecError) as caught:
        urls(AmazonDataset(source="amazon2018", category="Software", base_url=base_url))
    assert "host" in str(caught.value) and "secret" not in str(caught.value)
