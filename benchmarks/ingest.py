"""Time and memory of the step ingest on a large category, beside merely decompressing and parsing the same files.

The category is generated in the format of Amazon 2018: reviews with text, a few items with most of them, duplicates.
The bare parse reads with polars' streaming engine just the fields that are needed, from both files, and keeps them.
Each command is a process of its own; the least of the rounds counts.

    python -m benchmarks ingest [--reviews 10000000] [--rounds 2] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._cost import cost_of_command

__all__ = ["main"]

CHUNK = 250_000
BARE = """
import sys, polars as pl
reviews = dict(reviewerID=pl.String, asin=pl.String, overall=pl.Float32, unixReviewTime=pl.Int64)
texts = dict.fromkeys(["asin", "title", "brand", "category", "description", "imageURL", "imageURLHighRes"], pl.String)
for path, schema in zip(sys.argv[1:], (reviews, texts)):
    print(pl.scan_ndjson(path, schema=schema, ignore_errors=True).collect(engine="streaming").height)
"""


def main() -> None:
    """Generate what is missing, run both and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ingest")
    parser.add_argument("--reviews", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder of the generated files, used again if they are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        files = _category(folder, options.reviews)
        bare = [sys.executable, "-c", BARE, *map(str, files)]
        step = [sys.executable, "-m", "decorec", "ingest", "--threads", str(os.cpu_count()), "--filter", "{}"]
        step += ["--dataset", '{"source": "amazon2018", "category": "Generated"}']
        step += ["--reviews", str(files[0]), "--meta", str(files[1])]
        written = {"interactions": "interactions.parquet", "catalogue": "items.parquet", "counts": "counts.json"}
        for name, file in written.items():
            step += [f"--{name}", str(folder / file)]
        rounds = [(cost_of_command(bare), cost_of_command(step)) for _ in range(options.rounds)]
    print(f"{options.reviews:,} reviews, {os.cpu_count()} processors, polars {pl.__version__}")
    bare_cost, step_cost = (min(costs, key=lambda cost: cost.clock) for costs in zip(*rounds, strict=True))
    print(bare_cost.line("bare parse"))
    print(step_cost.line("ingest"))
    ratio = step_cost.clock / bare_cost.clock, step_cost.processor / bare_cost.processor
    print(f"{'ratio':<24} {ratio[0]:8.2f}   {ratio[1]:8.2f}")


def _category(folder: Path, reviews: int) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    users, items = _ids("A", 13, reviews * 7 // 10, random), _ids("B", 9, reviews // 12 + 1, random)
    files = folder / f"reviews-{reviews}.json.gz", folder / f"meta-{reviews}.json.gz"
    for file, chunks in zip(files, (_reviews(users, items, reviews, random), _metadata(items, random)), strict=True):
        if not file.exists():
            print(f"generating {file}", flush=True)
            _write(file, chunks)
    return files


def _write(path: Path, chunks: Iterator[pl.DataFrame]) -> None:
    part = path.with_suffix(".part")
    with gzip.open(part, "wb", compresslevel=1) as handle:
        for chunk in chunks:
            handle.write(chunk.write_ndjson().encode())
    part.rename(path)


def _ids(prefix: str, length: int, count: int, random: np.random.Generator) -> pl.Series:
    letters = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", dtype="S1")
    drawn = letters[random.integers(0, len(letters), (count, length))].view(f"S{length}").ravel()
    return prefix + pl.Series(drawn.astype(str)).unique(maintain_order=True)


def _texts(count: int, words: tuple[int, int], random: np.random.Generator) -> pl.Series:
    """Sentences over a vocabulary with the frequencies of natural language (Zipf)."""
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgk", dtype="S1")
    vocabulary = [
        letters[random.integers(0, len(letters), random.integers(2, 11))].tobytes().decode() for _ in range(20_000)
    ]
    lengths = random.integers(*words, count)
    drawn = np.minimum(random.zipf(1.2, lengths.sum()), 20_000) - 1
    ends = np.cumsum(lengths)
    rows = zip(ends - lengths, ends, strict=True)
    return pl.Series([" ".join(vocabulary[word] for word in drawn[start:end]) for start, end in rows])


def _reviews(users: pl.Series, items: pl.Series, count: int, random: np.random.Generator) -> Iterator[pl.DataFrame]:
    bodies = _texts(100_000, (5, 130), random)
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        # Powers of uniform numbers: as in the categories of that size, two reviews per user and a dozen per item, of
        # which a fifth lie in the 5-core.
        user = (random.random(rows) ** 3 * len(users)).astype(np.int64)
        item = (random.random(rows) ** 5 * len(items)).astype(np.int64)
        day = random.integers(13_000, 17_700, rows) * 86_400
        frame = pl.DataFrame(
            {
                "overall": random.integers(1, 6, rows).astype(np.float64),
                "verified": random.random(rows) < 0.9,
                "reviewTime": pl.from_epoch(pl.Series(day)).dt.strftime("%m %d, %Y"),
                "reviewerID": users.gather(user),
                "asin": items.gather(item),
                "style": pl.Series([{"Size:": " L"}] * rows),
                "reviewerName": users.gather(user).str.slice(0, 6),
                "reviewText": bodies.gather(random.integers(0, len(bodies), rows)),
                "summary": bodies.gather(random.integers(0, len(bodies), rows)).str.slice(0, 30),
                "unixReviewTime": day,
            }
        )
        repeated = random.integers(0, rows, rows // 100)
        yield pl.concat([frame[: rows - len(repeated)], frame[repeated]])


def _metadata(items: pl.Series, random: np.random.Generator) -> Iterator[pl.DataFrame]:
    texts = _texts(20_000, (10, 200), random)
    for start in range(0, len(items), CHUNK):
        own = items[start : start + CHUNK]
        links = "https://images.example/I/" + own
        some = [texts.gather(random.integers(0, len(texts), len(own))) for _ in range(3)]
        yield pl.DataFrame(
            {
                "category": pl.Series([["Generated", "Level"]] * len(own)),
                "description": _lists(some[0], 1),
                "title": some[1].str.slice(0, 90) + " &amp; more",
                "also_buy": _lists(items.gather(random.integers(0, len(items), len(own) * 10)), 10),
                "brand": some[2].str.slice(0, 12),
                "asin": own,
                "imageURL": _lists(links + "._SX38_.jpg", 1),
                "imageURLHighRes": _lists(links + ".jpg", 1),
            }
        )


def _lists(values: pl.Series, length: int) -> pl.Series:
    return values.reshape((-1, length)).cast(pl.List(pl.String))
