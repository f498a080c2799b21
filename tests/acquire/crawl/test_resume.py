"""What a crawl leaves behind: after kills, on a second run, after a defect; and what an estimate says."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from decorec.acquire.crawl import journal
from decorec.acquire.crawl.picture_store import Store
from decorec.acquire.crawl.step import crawl
from decorec.artifacts.layout import picture_path
from decorec.config.acquire import CrawlConfig
from decorec.config.datasets import AmazonDataset, SampleDataset
from decorec.errors import DecorecError
from tests.support.hostile import Hostile, picture

AMAZON = AmazonDataset(source="amazon2018", category="Test")
LOOPBACK: dict[str, Any] = {"private_hosts": True, "rate": 1e6, "per_host": 4, "attempts": 1}


def write_catalogue(folder: Path, addresses: dict[str, list[str]]) -> Path:
    catalogue = folder / "set" / "items.parquet"
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    schema = {"item": pl.String, "image_urls": pl.List(pl.String)}
    pl.DataFrame([list(addresses), list(addresses.values())], schema=schema).write_parquet(catalogue)
    return catalogue


def run(folder: Path, addresses: dict[str, list[str]], estimate: int = 0, **settings: Any) -> pl.DataFrame | None:
    images = folder / "set" / "images.parquet"
    config = CrawlConfig(**{**LOOPBACK, **settings})
    catalogue = write_catalogue(folder, addresses)
    crawl(
        dataset=AMAZON, settings=config, catalogue=catalogue, cache=folder / "cache", images=images, estimate=estimate
    )
    return pl.read_parquet(images) if images.exists() else None


def journaled(folder: Path) -> set[str]:
    """Addresses that were complete when the process died."""
    path = folder / "cache" / "crawl" / "set.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {json.loads(line)["address"] for line in lines if line.startswith(b"{") and line.endswith(b"}")}


def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    rng = random.Random(0)
    with Hostile(delay=0.02) as server:
        kinds = ("ok", "ok", "ok", "placeholder", "404", "html", "chain/2")
        addresses = {
            f"item {i}": [f"{server.url}/{rng.choice(kinds)}/{i}.jpg".replace("/2/", "/2?"), f"{server.url}/ok/{i}.jpg"]
            for i in range(300)
        }
        run(tmp_path / "undisturbed", addresses)
        server.requests.clear()
        folder = tmp_path / "killed"
        catalogue = write_catalogue(folder, addresses)
        command = [sys.executable, "-m", "decorec", "crawl", "--dataset", AMAZON.model_dump_json()]
        command += ["--settings", json.dumps(LOOPBACK), "--catalogue", str(catalogue), "--cache", str(folder / "cache")]
        command += ["--images", str(folder / "set" / "images.parquet")]
        complete: set[str] = set()
        for kill in range(10):
            left = rng.randrange(1, 50)
            before = server.requests.copy()
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                # After so many requests, which may be before anything is decoded, or after so many outcomes.
                if kill % 2:
                    wait_until(process, server.requests.total, before.total() + left)
                else:
                    wait_until(process, lambda: len(journaled(folder)), len(complete) + left)
                process.send_signal(signal.SIGKILL)
            again = {path for path, count in server.requests.items() if count > before[path]}
            assert not {address for address in complete if address.removeprefix(server.url) in again}
            complete = journaled(folder)
            for path in (folder / "cache" / "images").rglob("*.jpg"):
                with Image.open(path) as stored:
                    stored.load()
        # On a busy machine the crawl may be done before the last kill is sent; then that one hits nothing.
        assert len(complete) > 20
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for name in ("set/images.parquet", "cache/images"):
        ours, theirs = ({path.name: path.read_bytes() for path in files(tmp_path / f / name)} for f in FOLDERS)
        assert ours == theirs, name
    assert sorted(path.name for path in (folder / "cache" / "crawl").iterdir()) == ["set.jsonl"]


def wait_until(process: subprocess.Popen[bytes], count: Callable[[], int], least: int) -> None:
    while count() < least and process.poll() is None:
        time.sleep(0.002)


FOLDERS = ("undisturbed", "killed")


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def test_second_run_asks_only_for_what_was_transient(tmp_path: Path) -> None:
    with Hostile() as server:
        names = ("ok/1.jpg", "404.jpg", "html.jpg", "flaky/2.jpg", "503.jpg")
        addresses = {name: [f"{server.url}/{name}"] for name in names}
        first = run(tmp_path, addresses)
        assert first is not None
        assert first["status"].to_list() == ["ok", "permanent", "permanent", "transient", "transient"]
        second = run(tmp_path, addresses)
        assert second is not None
        assert second["status"].to_list() == ["ok", "permanent", "permanent", "ok", "transient"]
        counts = {"/ok/1.jpg": 1, "/404.jpg": 1, "/html.jpg": 1, "/flaky/2.jpg": 2, "/503.jpg": 2, "/robots.txt": 2}
        assert server.requests == counts


def test_lost_pictures_and_another_side_are_fetched_again(tmp_path: Path) -> None:
    with Hostile() as server:
        addresses = {f"{i}": [f"{server.url}/ok/{i}.jpg"] for i in range(3)}
        first = run(tmp_path, addresses)
        assert first is not None
        lost = picture_path(tmp_path / "cache", first["sha256"][1])
        lost.unlink()
        server.requests.clear()
        second = run(tmp_path, addresses)
        assert second is not None and second.equals(first) and lost.exists()
        assert server.requests == {"/robots.txt": 1, "/ok/1.jpg": 1}
        run(tmp_path, addresses, side=32)
        with Image.open(lost) as stored:
            assert stored.size == (48, 32)
        assert server.requests["/ok/0.jpg"] == 1


def test_pictures_of_another_recipe_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hostile() as server:
        addresses = {"0": [f"{server.url}/ok/0.jpg"], "1": [f"{server.url}/404.jpg"]}
        run(tmp_path, addresses)
        (file,) = (tmp_path / "cache" / "crawl").glob("*.jsonl")
        without = [{key: value for key, value in json.loads(line).items() if key != "recipe"} for line in file.open()]
        file.write_text("".join(f"{json.dumps(entry)}\n" for entry in without))
        for recipe, requests in ((1, {}), (2, {"/robots.txt": 1, "/ok/0.jpg": 1}), (2, {}), (3, None)):
            server.requests.clear()
            monkeypatch.setattr(journal, "RECIPE", recipe)
            run(tmp_path, addresses)
            # Lines of the first recipe did not name it; a failure does not depend on the recipe.
            assert server.requests == (requests if requests is not None else {"/robots.txt": 1, "/ok/0.jpg": 1})


def test_pictures_that_an_older_rule_calls_unreadable_are_tried_again(tmp_path: Path) -> None:
    with Hostile() as server:
        addresses = {"good": [f"{server.url}/ok/1.jpg"], "bad": [f"{server.url}/html/1.jpg"]}
        run(tmp_path, addresses)
        path = tmp_path / "cache" / "crawl" / "set.jsonl"
        entries = [json.loads(line) for line in path.read_bytes().splitlines()]
        for entry in entries:  # as it was written when any death of a decoder counted against the picture
            del entry["verdict"]
            entry["outcome"] |= {"status": "permanent", "error": "unreadable"}
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        server.requests.clear()
        table = run(tmp_path, addresses)
        assert table is not None and dict(table.select("item", "status").iter_rows()) == {
            "bad": "permanent",
            "good": "ok",
        }
        assert set(server.requests) == {"/robots.txt", "/ok/1.jpg", "/html/1.jpg"}
        server.requests.clear()
        run(tmp_path, addresses)
        assert not server.requests


def test_estimate_says_what_to_expect_and_writes_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Hostile() as server:
        addresses = {f"{i}": [f"{server.url}/{'404' if i % 4 == 0 else 'ok'}/{i}.jpg", "unused"] for i in range(80)}
        assert run(tmp_path, addresses | {"none": []}, estimate=20, rate=0.5, per_host=40) is None
        assert sum(server.requests.values()) == 21
        text = capsys.readouterr().out
        assert "20 of 80 first picture addresses tried" in text
        assert "not-found" in text and "ok" in text
        assert "time: about 3 min, set by crawl.rate" in text
        server.requests.clear()
        run(tmp_path, addresses)
        assert sum(server.requests.values()) == 1 + 60, "what the estimate has fetched counts"


def test_estimate_without_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, {"none": []}, estimate=5)
    assert "no item has a picture address" in capsys.readouterr().out


def test_no_items_with_addresses_give_an_empty_table(tmp_path: Path) -> None:
    table = run(tmp_path, {"none": [], "empty": [""]})
    assert table is not None and table.height == 0 and "sha256" in table.columns


def test_defect_in_a_thread_ends_the_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(self: Store, body: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "add", defect)
    with Hostile() as server, pytest.raises(ZeroDivisionError):
        addresses = {f"{i}": [f"{server.url}/{'ok' if i else 'hang'}/{i}.jpg"] for i in range(5)}
        run(tmp_path, addresses)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crawl")]
    assert not (tmp_path / "set" / "images.parquet").exists()


def test_sample_shop_is_served_and_its_content_decides(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "pictures").mkdir(parents=True)
    (shop / "pictures" / "a.jpg").write_bytes(picture(1))
    catalogue = write_catalogue(
        tmp_path, {"a": ["http://shop.example/pictures/a.jpg"], "b": ["http://shop.example/b.jpg"]}
    )
    images, cache = tmp_path / "set" / "images.parquet", tmp_path / "cache"
    dataset, config = SampleDataset(source="sample"), CrawlConfig(rate=0.001)
    for number in (1, 2):
        (shop / "pictures" / "a.jpg").write_bytes(picture(number))
        crawl(dataset=dataset, settings=config, catalogue=catalogue, shop=shop, cache=cache, images=images)
        table = pl.read_parquet(images)
        assert table["status"].to_list() == ["ok", "permanent"]
        assert table["bytes"][0] == len(picture(number))
    with pytest.raises(DecorecError, match="expected the folder that the step sample writes"):
        crawl(dataset=dataset, settings=config, catalogue=catalogue, cache=cache, images=images)


def test_wrong_items_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "set" / "items.parquet"
    wrong.parent.mkdir()
    pl.DataFrame({"item": ["a"], "image_urls": ["http://x.test/y.jpg"]}).write_parquet(wrong)
    images = tmp_path / "set" / "images.parquet"
    with pytest.raises(DecorecError, match="image_urls"):
        crawl(dataset=AMAZON, settings=CrawlConfig(), catalogue=wrong, cache=tmp_path / "cache", images=images)
    with pytest.raises(DecorecError, match="no such file"):
        crawl(dataset=AMAZON, settings=CrawlConfig(), catalogue=tmp_path / "x", cache=tmp_path / "cache", images=images)
