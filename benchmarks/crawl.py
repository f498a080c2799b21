"""Pictures per second of the crawl and of img2dataset, side by side on this machine.

Both fetch the same URLs from the same loopback server (a process of its own), with the same number of threads, check
and decode every picture, make the shorter side 256 pixels and write JPEG of quality 92. The limits that keep the
crawl polite are lifted. The figure is pictures per second of the whole command, start of the interpreter included.

    python -m benchmarks crawl [--pictures 20000] [--threads 16] [--rounds 1] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from benchmarks._cost import Cost, cost_of_command

__all__ = ["main"]

PEER = "img2dataset==1.47"
SIDE = 256
QUALITY = 92


@contextmanager
def _server(distinct: int, side: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks._picture_server", "--distinct", str(distinct), "--side", str(side)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _peer(folder: Path) -> Path:
    """The peer's command, installed into an environment of its own the first time."""
    environment = folder / "img2dataset"
    command = environment / "bin" / "img2dataset"
    if not command.exists():
        print(f"installing {PEER} into {environment}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin" / "pip", "install", "--quiet", PEER], check=True)
    return command


def _line(label: str, cost: Cost, pictures: int) -> str:
    """One line of the report."""
    return (
        f"{label:<12} {pictures / cost.clock:8.1f} pictures/s, {cost.clock:6.1f} s, "
        f"{1e3 * cost.processor / pictures:5.2f} ms of processor time per picture"
    )


def _crawl(urls: list[str], threads: int, folder: Path) -> Cost:
    catalogue = folder / "bench" / "items.parquet"
    catalogue.parent.mkdir(parents=True)
    names = [f"{number:08d}" for number in range(len(urls))]
    pl.DataFrame({"item": names, "image_urls": [[url] for url in urls]}).write_parquet(catalogue)
    images = catalogue.with_name("images.parquet")
    config = {"concurrency": threads, "per_host": threads, "rate": 1e9, "private_hosts": True, "side": SIDE}
    dataset = {"source": "amazon2018", "category": "bench"}
    files: list[str | Path] = ["--catalogue", catalogue, "--cache", folder / "cache", "--images", images]
    settings = ["--dataset", json.dumps(dataset), "--settings", json.dumps(config)]
    cost = cost_of_command([sys.executable, "-m", "decorec", "crawl", *settings, *files])
    fetched = pl.read_parquet(images).filter(pl.col("status") == "ok").height
    stored = sum(1 for _ in (folder / "cache" / "images").rglob("*.jpg"))
    if not fetched == stored == len(urls):
        sys.exit(f"decorec: expected {len(urls)} pictures, found {fetched} rows and {stored} files")
    return cost


def _img2dataset(command: Path, urls: list[str], threads: int, processes: int, folder: Path) -> Cost:
    listed = folder / "urls.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("\n".join(urls) + "\n")
    output = folder / "out"
    options = {
        "url_list": listed,
        "input_format": "txt",
        "output_format": "files",
        "output_folder": output,
        "processes_count": processes,
        "thread_count": threads,
        "number_sample_per_shard": 1_000,
        "image_size": SIDE,
        "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True,
        "encode_format": "jpg",
        "encode_quality": QUALITY,
        "compute_hash": "sha256",
        "extract_exif": False,
    }
    arguments: list[str | Path] = [command, *(f"--{name}={value}" for name, value in options.items())]
    cost = cost_of_command(arguments, {"NO_ALBUMENTATIONS_UPDATE": "1"})
    stored = sum(1 for _ in output.rglob("*.jpg"))
    if stored != len(urls):
        sys.exit(f"img2dataset: expected {len(urls)} pictures, found {stored}")
    return cost


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=500, help="different pictures behind the URLs")
    parser.add_argument("--side", type=int, default=500, help="pixels")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1, help="alternating repetitions")
    parser.add_argument("--keep", type=Path, help="folder for the peer's environment (default: temporary)")
    arguments = parser.parse_args()
    processes = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="decorec-crawl-") as name,
        _server(arguments.distinct, arguments.side) as port,
    ):
        command = _peer((arguments.keep or Path(name)).resolve())
        urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(arguments.pictures)]
        print(
            f"{len(urls)} pictures of {arguments.side} px, {arguments.threads} threads, {processes} cores", flush=True
        )
        for turn in range(arguments.rounds):
            folder = Path(name) / str(turn)
            ours = _crawl(urls, arguments.threads, folder / "decorec")
            print(_line("decorec", ours, len(urls)), flush=True)
            per_process = arguments.threads // processes
            theirs = _img2dataset(command, urls, per_process, processes, folder / "peer")
            print(_line("img2dataset", theirs, len(urls)), flush=True)
            print(
                f"{'ratio':<12} {theirs.clock / ours.clock:8.2f} on the clock, "
                f"{theirs.processor / ours.processor:.2f} of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
