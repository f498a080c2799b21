"""A small catalogue as the features step finds it: items.parquet, images.parquet and stored pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from decorec.artifacts.layout import picture_path

COLOURS = ("red", "green", "blue", "orange", "purple", "black", "pink", "gray")
SHAPES = ("circle", "square", "triangle", "cross")


def drawing(number: int, random: np.random.Generator) -> tuple[Image.Image, str]:
    """Picture ``number`` and its text: a coloured shape at some place."""
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number // len(COLOURS) % len(SHAPES)]
    picture = Image.new("RGB", (256, 256 + 16 * (number % 3)), "white")
    draw = ImageDraw.Draw(picture)
    left, top = (int(place) for place in random.integers(20, 80, 2))
    right, bottom = left + 140, top + 140
    if shape == "circle":
        draw.ellipse((left, top, right, bottom), fill=colour)
    elif shape == "square":
        draw.rectangle((left, top, right, bottom), fill=colour)
    elif shape == "triangle":
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=colour)
    else:
        draw.line((left, top, right, bottom), fill=colour, width=30)
        draw.line((left, bottom, right, top), fill=colour, width=30)
    return picture, f"{colour} {shape}, article {number}"


def store(cache: Path, picture: Image.Image) -> str:
    """Keep ``picture`` as the crawl does; returns its hash."""
    body = BytesIO()
    picture.save(body, "JPEG", quality=92)
    sha256 = hashlib.sha256(body.getvalue()).hexdigest()
    path = picture_path(cache, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body.getvalue())
    return sha256


def write_tables(folder: Path, texts: Sequence[str | None], rows: Sequence[tuple[int, str, str | None]]) -> None:
    """Write items.parquet (one item per text) and images.parquet (item number, status, sha256)."""
    names = [f"i{number}" for number in range(len(texts))]
    pl.DataFrame({"item": names, "text": texts}, schema={"item": pl.String, "text": pl.String}).write_parquet(
        folder / "items.parquet"
    )
    columns = {
        "item": [names[item] for item, _, _ in rows],
        "status": [status for _, status, _ in rows],
        "sha256": [sha256 for _, _, sha256 in rows],
    }
    pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).write_parquet(folder / "images.parquet")


def write_shop(folder: Path, items: int, seed: int = 0) -> None:
    """Write a catalogue of ``items`` drawings under ``folder``."""
    random = np.random.default_rng(seed)
    drawings = [drawing(number, random) for number in range(items)]
    hashes = [store(folder / "cache", picture) for picture, _ in drawings]
    write_tables(folder, [text for _, text in drawings], [(number, "ok", sha) for number, sha in enumerate(hashes)])


def step_files(folder: Path) -> dict[str, Path]:
    """Arguments of the features step for the catalogue under ``folder``."""
    return {
        "catalogue": folder / "items.parquet",
        "images": folder / "images.parquet",
        "cache": folder / "cache",
        "encoder": folder / "encoder.safetensors",
        "text": folder / "features" / "text.safetensors",
        "image": folder / "features" / "image.safetensors",
    }
