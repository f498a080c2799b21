"""Pictures per second from stored files to features on disk, as a share of the bare forward pass of the same model.

Both run in this process, with the same model (random weights), device, batch size and threads, in turns. The forward
pass starts from a ready batch in the device's memory and leaves its result there; the extraction reads stored JPEG
files (shorter side 256 pixels, no two alike), decodes and preprocesses them, encodes, and writes the features file.

    python -m benchmarks encode [--pictures 512] [--rounds 3] [--model ViT-B-32-quickgelu] [--threads CORES]
                                [--device auto] [--precision fp32] [--batch-size 128]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from PIL import Image

from decorec.crawl import picture_path
from decorec.features.catalogue import Catalogue, read_catalogue
from decorec.features.decode import Pictures
from decorec.features.encoder import Encoder, build_encoder, pick_device
from decorec.features.extract import Job, extract
from decorec.features_file import FeatureFile

__all__ = ["main"]

SIZES = ((256, 256), (256, 341), (341, 256), (256, 384))


def _store_pictures(folder: Path, count: int) -> Catalogue:
    """Write ``count`` pictures with the detail of photographs, and the tables that name them."""
    random = np.random.default_rng(0)
    hashes = [f"{number:064x}" for number in range(count)]
    for number, sha256 in enumerate(hashes):
        width, height = SIZES[number % len(SIZES)]
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = random.integers(-12, 13, (height, width, 1), dtype=np.int16)
        path = picture_path(folder / "cache", sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=92)
    names = [f"i{number}" for number in range(count)]
    items, images = folder / "items.parquet", folder / "images.parquet"
    pl.DataFrame({"item": names, "text": [""] * count}).write_parquet(items)
    pl.DataFrame({"item": names, "status": ["ok"] * count, "sha256": hashes}).write_parquet(images)
    return read_catalogue(items, images, folder / "cache")


class Seconds(NamedTuple):
    """On the clock, and of processor time over all threads."""

    clock: float
    processor: float


def _seconds(work: Callable[[], object], device: torch.device) -> Seconds:
    start, used = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Seconds(time.perf_counter() - start, time.process_time() - used)


def _forward(encoder: Encoder, count: int, batch_size: int) -> Callable[[], None]:
    """The bare forward pass over ``count`` pictures, in batches of the same sizes as the extraction's."""
    side = encoder.geometry.size
    sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    ready = torch.randn(batch_size, 3, side, side, device=encoder.device)

    def work() -> None:
        with torch.inference_mode(), encoder.arithmetic():
            for size in sizes:
                encoder.model.encode_image(ready[:size], normalize=False)

    return work


def _extraction(
    encoder: Encoder, catalogue: Catalogue, folder: Path, batch_size: int, threads: int
) -> Callable[[], None]:
    def work() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            source = Pictures(catalogue.picture_paths, encoder.geometry)
            job = Job("pictures", catalogue.pictures, source, encoder.encode_images, Path(name) / "chunks")
            result = extract(job, encoder, batch_size, threads)
            x = catalogue.pictures.spread(result.x)
            FeatureFile(x, catalogue.pictures.present, catalogue.items).write(Path(name) / "image.safetensors")

    return work


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="alternating repetitions after one for warming up")
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--batch-size", type=int, default=128)
    return parser.parse_args()


def main() -> None:
    """Measure both in turns and print the share."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    torch.manual_seed(0)
    encoder = build_encoder(arguments.model, None, arguments.precision, device)
    count, batch_size, threads = arguments.pictures, arguments.batch_size, arguments.threads
    print(f"{count} pictures, {arguments.model}, {arguments.precision} on {device.type}, {threads} threads", flush=True)
    with tempfile.TemporaryDirectory(prefix="decorec-encode-") as name:
        catalogue = _store_pictures(Path(name), count)
        forward = _forward(encoder, count, batch_size)
        extraction = _extraction(encoder, catalogue, Path(name), batch_size, threads)
        _seconds(_forward(encoder, batch_size, batch_size), device)
        shares = []
        for turn in range(arguments.rounds):
            before, whole, after = (_seconds(work, device) for work in (forward, extraction, forward))
            bare = Seconds((before.clock + after.clock) / 2, (before.processor + after.processor) / 2)
            shares.append(bare.clock / whole.clock)
            print(
                f"round {turn + 1}: forward {count / bare.clock:8.1f} pictures/s (before {count / before.clock:.1f}, "
                f"after {count / after.clock:.1f}), files to features {count / whole.clock:8.1f} pictures/s, share "
                f"{shares[-1]:.3f} (of processor time {bare.processor / whole.processor:.3f})",
                flush=True,
            )
    print(f"share of the bare forward pass, median of {len(shares)}: {statistics.median(shares):.3f}")


if __name__ == "__main__":
    main()
