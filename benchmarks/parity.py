"""Our decoding, preprocessing and encoding beside open_clip's own, on varied pictures and texts.

open_clip's side is what its documentation shows: ``preprocess`` of an opened picture, ``encode_image``, the tokenizer,
``encode_text``; ours is that of the step features, from stored files and in its batches. Both have the same random
weights. With those the features of different pictures are not far from each other, so that the cosine by itself says
little: it is given once more with the mean over all features taken off, and beside it that of neighbours.

    python -m benchmarks parity [--count 200] [--model ViT-B-32-quickgelu] [--threads CORES]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from decorec.acquire.crawl.image_normalisation import as_jpeg, normalise
from decorec.features.clip import Clip, build_clip
from decorec.features.decode import batches
from decorec.features.encoder import Modality

__all__ = ["cosine", "encoded", "main", "reference", "varied_pictures", "varied_texts"]

LEAST = 0.9999
BATCH = 16
SIZES = [(256, 256), (500, 500), (640, 480), (300, 900), (1500, 200), (90, 60), (2000, 1500), (33, 257)]
MODES = ["RGB", "L", "RGBA", "CMYK", "P"]
WORDS = [
    "cotton",
    "Schraubendreher",
    "naïve café",
    "日本語の本",
    "100% wool!!",
    "&amp; <b>bold</b>",
    "emoji 🎉",
    "x" * 90,
]


def varied_pictures(folder: Path, count: int) -> list[Path]:
    """``count`` pictures of many sizes, modes, contents and formats, kept as the crawl keeps them."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        noise = random.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(number % 6):
            x, y = int(random.integers(0, width)), int(random.integers(0, height))
            draw.ellipse(
                (x, y, x + width // 4, y + height // 4), fill=tuple(int(c) for c in random.integers(0, 256, 3))
            )
        picture = picture.filter(ImageFilter.SHARPEN if number % 2 else ImageFilter.SMOOTH)
        mode = MODES[number % len(MODES)]
        kind = "JPEG" if mode in ("RGB", "L", "CMYK") else "TIFF"
        body = BytesIO()
        picture.convert(mode).save(body, kind)
        kept, _, _ = normalise(body.getvalue(), side=256, max_pixels=64_000_000)
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(as_jpeg(kept))
    return paths


def varied_texts(count: int) -> list[str]:
    """``count`` texts from one word to far beyond what the model reads."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, size=1 + number % 40)) for number in range(count)]


def encoded(encoder: Clip, modality: Modality, values: Sequence[Any], threads: int = 2) -> Tensor:
    """Features [inputs, width] as the step computes them."""
    ranges = [(start, min(start + BATCH, len(values))) for start in range(0, len(values), BATCH)]
    prepared = batches(encoder.source(modality, values), ranges, threads, encoder.device)
    return torch.cat([encoder.encode(modality, batch.inputs) for batch in prepared]).cpu()


def reference(encoder: Clip, paths: Sequence[Path], texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features of pictures and of texts by open_clip as its documentation shows it, with the weights of ``encoder``."""
    name = encoder.metadata["model"]
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.load_state_dict(encoder.model.state_dict())
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    pictures = torch.stack([preprocess(Image.open(path)) for path in paths])
    with torch.no_grad():
        return (
            torch.cat([model.encode_image(part) for part in torch.split(pictures, 20)]),
            torch.cat(
                [model.encode_text(tokenizer(list(texts[start : start + 20]))) for start in range(0, len(texts), 20)]
            ),
        )


def cosine(left: Tensor, right: Tensor) -> Tensor:
    """Cosine [inputs] of the rows of two matrices [inputs, width]."""
    return torch.nn.functional.cosine_similarity(left.double(), right.double())


def main() -> None:
    """Encode both ways and print how far they are apart; the exit status is 1 where that is too far."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks parity")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    encoder = build_clip(options.model, None, "fp32", torch.device("cpu"))
    with tempfile.TemporaryDirectory() as name:
        paths, texts = varied_pictures(Path(name), options.count), varied_texts(options.count)
        found = (
            encoded(encoder, "image", paths, options.threads),
            encoded(encoder, "text", texts, options.threads),
        )
        expected = reference(encoder, paths, texts)
    print(f"{options.model}, {options.count} pictures and texts, open_clip {open_clip.__version__}")
    least = [_report(*pair) for pair in zip(("pictures", "texts"), found, expected, strict=True)]
    if min(least) <= LEAST:
        sys.exit(f"expected every cosine above {LEAST}, found {min(least)}")


def _report(label: str, found: Tensor, expected: Tensor) -> float:
    """Print the figures of one modality; returns the least cosine."""
    pairs, neighbours = cosine(found, expected), cosine(found, expected.roll(1, 0))
    mean = expected.mean(0)
    centred = cosine(found - mean, expected - mean)
    print(
        f"{label:<8} least cosine {float(pairs.min()):.9f}, with the mean taken off {float(centred.min()):.9f}; "
        f"of neighbours on average {float(neighbours.mean()):.4f}"
    )
    return float(pairs.min())


if __name__ == "__main__":
    main()
