"""The paper's chain over HTTP: category files in the formats of 2018 and 2023 and their pictures, to the main table."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from decorec.acquire.sample.server import HOST
from tests.support.category import Record, metadata_2023, review_2023
from tests.support.loopback import Loopback
from tests.support.sample_shop import write
from tests.support.workplace import TINY, Workplace

pytestmark = pytest.mark.workflow

MAIN = "results/tables/main.csv"
SOURCES = {
    "pantry": {"source": "amazon2018", "category": "Prime_Pantry", "paper": "Pantry"},
    "software": {"source": "amazon2023", "category": "Software"},
}
PATHS = {
    "pantry": ("/categoryFiles/Prime_Pantry.json.gz", "/metaFiles2/meta_Prime_Pantry.json.gz"),
    "software": ("/raw/review_categories/Software.jsonl.gz", "/raw/meta_categories/meta_Software.jsonl.gz"),
}
SETTINGS: dict[str, Any] = TINY | {
    # Where the pictures are: on this machine, which a crawl has to be allowed, and needs no care.
    "crawl": {"private_hosts": True, "rate": 10_000},
}


def converted(lines: bytes, convert: Callable[[Record], Record]) -> bytes:
    """The records in ``lines``, each through ``convert``; lines that are no JSON stay as they are."""
    result = []
    for line in lines.splitlines():
        try:
            result.append(json.dumps(convert(json.loads(line))).encode())
        except json.JSONDecodeError:
            result.append(line)
    return b"\n".join(result) + b"\n"


def category(folder: Path, name: str, server: Loopback, seed: int) -> None:
    """Give ``server`` the files of a generated category and its pictures."""
    shop = write(folder / name, items=90, users=220, seed=seed)
    files, forms = ("reviews.json.gz", "meta.json.gz"), (review_2023, metadata_2023)
    for path, file, form in zip(PATHS[name], files, forms, strict=True):
        lines = gzip.decompress((shop / file).read_bytes())
        lines = lines.replace(f"http://{HOST}/pictures".encode(), f"{server.url}/{name}".encode())
        server.files[path] = gzip.compress(lines if name == "pantry" else converted(lines, form))
    for picture in (shop / "pictures").iterdir():
        server.files[f"/{name}/{picture.name}"] = picture.read_bytes()


def records(body: bytes) -> list[Record]:
    found = []
    for line in gzip.decompress(body).splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def links(record: Record) -> list[str]:
    """Addresses of a product's pictures, whatever the year."""
    pictures = [picture[size] for picture in record.get("images", []) for size in ("large", "thumb")]
    fields = [record.get(name, []) for name in ("imageURLHighRes", "imageURL", "imUrl")]
    return [*pictures, *(url for field in fields for url in ([field] if isinstance(field, str) else field))]


def is_picture(body: bytes | None) -> bool:
    try:
        Image.open(io.BytesIO(body or b"")).load()
    except OSError:
        return False
    return True


def expected_sequences(server: Loopback, name: str) -> dict[str, list[str]]:
    """What a user of the data set must have bought, in order: by the definition, in plain Python, from what is served.

    Ratings once each, of products with metadata and a whole picture, cut to the 5-core, ordered by time and then by
    their place in the file.
    """
    rows, meta = (records(server.files[path]) for path in PATHS[name])
    item = "asin" if name == "pantry" else "parent_asin"
    user, time, rating = (
        ("reviewerID", "unixReviewTime", "overall") if name == "pantry" else ("user_id", "timestamp", "rating")
    )
    pictured = {
        record[item]
        for record in meta
        if any(is_picture(server.files.get(url.removeprefix(server.url))) for url in links(record))
    }
    bought = dict.fromkeys((row[user], row[item], row[time], row[rating]) for row in rows if row[item] in pictured)
    while True:
        users, items = Counter(key[0] for key in bought), Counter(key[1] for key in bought)
        core = [key for key in bought if users[key[0]] >= 5 and items[key[1]] >= 5]
        if len(core) == len(bought):
            break
        bought = dict.fromkeys(core)
    sequences = defaultdict(list)
    for key in sorted(bought, key=lambda key: key[2]):  # stable: ties stay in the order of the file
        sequences[key[0]].append(key[1])
    return dict(sequences)


def found_sequences(results: Path) -> dict[str, list[str]]:
    names = pl.read_parquet(results / "vocab.parquet").sort("index")["item"].to_list()
    table = pl.read_parquet(results / "sequences.parquet")
    return {user: [names[index] for index in row] for user, row in zip(table["user"], table["items"], strict=True)}


def test_category_files_and_pictures_become_the_main_table(tmp_path: Path) -> None:
    with Loopback({}) as server:
        for seed, name in enumerate(SOURCES):
            category(tmp_path, name, server, seed)
        datasets = {name: {**source, "base_url": server.url} for name, source in SOURCES.items()}
        place = Workplace(tmp_path / "place", {**SETTINGS, "datasets": datasets}, MAIN)
        result = place.snakemake("--show-failed-logs", "--", MAIN)
        assert result.returncode == 0, result.stdout + result.stderr
        expected = {name: expected_sequences(server, name) for name in SOURCES}
        asked = Counter(request.path for request in server.requests)

    assert asked.pop("/robots.txt") == len(SOURCES)
    assert set(asked.values()) == {1}, "nothing is fetched twice"
    assert {path for paths in PATHS.values() for path in paths} < set(asked)
    for name in SOURCES:
        folder = place.folder / "results" / name
        assert found_sequences(folder) == expected[name] and len(expected[name]) > 50
        dropped = json.loads((folder / "ingest.json").read_text())
        assert dropped["interactions"]["dropped"]["not JSON"] == 1
        assert dropped["items"]["dropped"]["repeated item"] > 0
        errors = set(pl.read_parquet(folder / "images.parquet")["error"].drop_nulls())
        assert {"not-found", "truncated", "not-an-image"} <= errors
    assert place.planned() == {}, "the server is gone, and nothing asks for it"
    with (place.folder / MAIN).open() as lines:
        rows = list(csv.DictReader(lines))
    metrics = {f"{metric}@{k}" for metric in ("Hit", "NDCG", "MRR") for k in (10, 50)}
    assert {(row["dataset"], row["metric"]) for row in rows} == {
        (name, metric) for name in SOURCES for metric in metrics
    }
    assert all(0 <= float(row["mean"]) <= 1 for row in rows)
    for row in rows:  # the paper keeps the history
        printed = row["dataset"] == "pantry" and row["history"] == "kept" and "MRR" not in row["metric"]
        assert bool(row["paper"]) is printed
