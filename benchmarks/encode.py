"""Pictures per second from stored files to features on disk, as a share of the bare forward pass of the same model.

Both run in this process, with the same model (random weights), device, batch size and threads, in many short turns, so
that what else the machine does falls on both. The forward pass starts from a ready batch in the device's memory and
leaves its result there; the extraction reads stored JPEG files (shorter side 256 pixels, no two alike), decodes and
preprocesses them, encodes, and writes the features file. A turn's share compares the extraction with the mean of the
forward passes right before and after it; of all shares the median counts, with the interval of order statistics that
covers it at 95 % (six turns at least).

On a GPU a turn has to be longer than the start of the worker processes: --pictures 20000 --rounds 6
--batch-size 256.

    python -m benchmarks encode [--pictures 64] [--rounds 24] [--model ViT-B-32-quickgelu] [--threads CORES]
                                [--device auto] [--precision fp32] [--batch-size 64]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from PIL import Image
from scipy.stats import binom

from decorec import gpus
from decorec.artifacts.layout import picture_path
from decorec.data.item_features import FeatureFile
from decorec.features.clip import Clip, build_clip
from decorec.features.encoder import Modality, arithmetic
from decorec.features.encoder_inputs import EncoderInputs, read_encoder_inputs
from decorec.features.extract import Job, extract
from decorec.features.row_cache import RowCache, input_key

__all__ = ["Seconds", "bare_forward", "extraction", "interval", "main", "store_inputs"]

SIZES = ((256, 256), (256, 341), (341, 256), (256, 384))


def store_inputs(folder: Path, texts: list[str], drawn: int | None = None) -> EncoderInputs:
    """Write a picture with the detail of photographs for each of ``texts``, and the tables that name both.

    ``drawn``: how many different pictures there are; from there on each file has the content of an earlier one.
    """
    count = len(texts)
    random = np.random.default_rng(0)
    hashes = [f"{number:064x}" for number in range(count)]
    for number, sha256 in enumerate(hashes):
        path = picture_path(folder / "cache", sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        if drawn is not None and number >= drawn:
            shutil.copyfile(picture_path(folder / "cache", hashes[number % drawn]), path)
            continue
        width, height = SIZES[number % len(SIZES)]
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = random.integers(-12, 13, (height, width, 1), dtype=np.int16)
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=92)
    names = [f"i{number}" for number in range(count)]
    catalogue, images = folder / "items.parquet", folder / "images.parquet"
    pl.DataFrame({"item": names, "text": texts}).write_parquet(catalogue)
    pl.DataFrame({"item": names, "status": ["ok"] * count, "sha256": hashes}).write_parquet(images)
    return read_encoder_inputs(catalogue, images, folder / "cache")


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


def bare_forward(encoder: Clip, count: int, batch_size: int) -> Callable[[], None]:
    """The bare forward pass over ``count`` pictures, in batches of the same sizes as the extraction's."""
    side = encoder.pixels.geometry.size
    sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    ready = torch.randn(batch_size, 3, side, side, device=encoder.device)

    def work() -> None:
        with torch.inference_mode(), arithmetic(encoder.device, encoder.precision):
            for size in sizes:
                encoder.model.encode_image(ready[:size], normalize=False)

    return work


def extraction(
    encoder: Clip, modality: Modality, inputs: EncoderInputs, folder: Path, batch_size: int, threads: int
) -> Callable[[], None]:
    """What the step does with the pictures, or the texts, of ``inputs``: from files to a features file."""
    distinct, values, kind = (
        (inputs.texts, inputs.texts.values, "text")
        if modality == "text"
        else (inputs.pictures, inputs.picture_paths, "picture")
    )

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            job = Job(modality, values, [input_key(kind, value) for value in distinct.values])
            result = extract(job, encoder, batch_size, threads, RowCache(Path(name), encoder.metadata, batch_size))
            x = distinct.spread(result.x)
            FeatureFile(x, distinct.present, inputs.items).write(Path(name) / "features.safetensors")

    return work


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=64, help="of one turn")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--batch-size", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    """Measure both in turns and print the share."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    device = gpus.device(arguments.device)
    torch.manual_seed(0)
    encoder = build_clip(arguments.model, None, arguments.precision, device)
    count, batch_size, threads = arguments.pictures, arguments.batch_size, arguments.threads
    print(f"{count} pictures, {arguments.model}, {arguments.precision} on {device.type}, {threads} threads", flush=True)
    with tempfile.TemporaryDirectory(prefix="decorec-encode-") as name:
        inputs = store_inputs(Path(name), [""] * count)
        forward = bare_forward(encoder, count, batch_size)
        encode = extraction(encoder, "image", inputs, Path(name), batch_size, threads)
        _seconds(bare_forward(encoder, batch_size, batch_size), device)
        forwards = [_seconds(forward, device)]
        extractions = []
        for turn in range(arguments.rounds):
            extractions.append(_seconds(encode, device))
            forwards.append(_seconds(forward, device))
            print(
                f"turn {turn + 1}: files to features {count / extractions[-1].clock:.1f} pictures/s, then forward "
                f"{count / forwards[-1].clock:.1f}",
                flush=True,
            )
    _report(np.array(forwards), np.array(extractions), count)


def _report(forwards: npt.NDArray[np.float64], extractions: npt.NDArray[np.float64], count: int) -> None:
    """Print rates and shares of ``forwards`` [turns + 1, (clock, processor)] and ``extractions`` [turns, the same]."""
    for column, label in enumerate(("on the clock", "of processor time")):
        bare = (forwards[:-1, column] + forwards[1:, column]) / 2
        low, share, high = interval(bare / extractions[:, column])
        print(
            f"{label:<18} forward {1000 * np.median(bare) / count:7.2f} ms per picture, files to features "
            f"{1000 * np.median(extractions[:, column]) / count:7.2f}, share {share:.3f} ({low:.3f} to {high:.3f})"
        )


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """The median of ``values`` between the ends of its interval of 95 % by order statistics."""
    ordered = np.sort(values)
    # How many of the values lie below the true median is a binomial number with p = 1/2.
    rank = max(1, int(binom.ppf(0.025, len(ordered), 0.5)))
    return float(ordered[rank - 1]), float(np.median(ordered)), float(ordered[-rank])


if __name__ == "__main__":
    main()
