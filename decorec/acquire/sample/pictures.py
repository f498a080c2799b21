"""Product pictures of the sample shop, drawn with Pillow.

The silhouette shows the kind and the shape, its filling shows colour and pattern, and about half of the backgrounds
hint at the style.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from decorec.acquire.sample.products import COLOURS, KINDS, PATTERNS, STYLES, Products

__all__ = ["draw_picture", "placeholder", "thumbnail"]

Colour = tuple[int, int, int]
Part = tuple[str, str, tuple[float, ...]]

CANVAS = 400
"""Side of the square, in pixels, on which silhouettes are drawn; it is reduced later, which smooths the edges."""

# Parts: tool, layer ("body": colour and pattern; "detail": small parts; "hole": background), unit coordinates.
SILHOUETTES: dict[str, tuple[Part, ...]] = {
    "mug": (
        ("ellipse", "body", (0.6, 0.32, 0.95, 0.74)),
        ("ellipse", "hole", (0.67, 0.4, 0.88, 0.66)),
        ("rectangle", "body", (0.15, 0.2, 0.75, 0.88)),
        ("rectangle", "detail", (0.15, 0.2, 0.75, 0.26)),
    ),
    "bottle": (
        ("rectangle", "body", (0.32, 0.32, 0.68, 0.95)),
        ("polygon", "body", (0.32, 0.33, 0.42, 0.18, 0.58, 0.18, 0.68, 0.33)),
        ("rectangle", "detail", (0.41, 0.05, 0.59, 0.18)),
    ),
    "bowl": (
        ("pie", "body", (0.05, 0.02, 0.95, 0.86)),
        ("rectangle", "detail", (0.32, 0.82, 0.68, 0.92)),
    ),
    "lamp": (
        ("polygon", "body", (0.3, 0.08, 0.7, 0.08, 0.88, 0.5, 0.12, 0.5)),
        ("rectangle", "detail", (0.47, 0.5, 0.53, 0.86)),
        ("ellipse", "detail", (0.28, 0.82, 0.72, 0.95)),
    ),
    "vase": (
        ("ellipse", "body", (0.2, 0.35, 0.8, 0.95)),
        ("polygon", "body", (0.36, 0.08, 0.64, 0.08, 0.58, 0.4, 0.42, 0.4)),
        ("ellipse", "detail", (0.36, 0.04, 0.64, 0.12)),
    ),
    "cushion": (
        ("polygon", "body", (0.05, 0.12, 0.5, 0.2, 0.95, 0.12, 0.88, 0.5, 0.95, 0.9, 0.5, 0.82, 0.05, 0.9, 0.12, 0.5)),
        ("ellipse", "detail", (0.46, 0.46, 0.54, 0.54)),
    ),
    "clock": (
        ("ellipse", "body", (0.06, 0.06, 0.94, 0.94)),
        ("polygon", "detail", (0.47, 0.52, 0.5, 0.16, 0.53, 0.52)),
        ("polygon", "detail", (0.48, 0.47, 0.8, 0.62, 0.48, 0.54)),
    ),
    "shirt": (
        ("polygon", "body", (0.3, 0.1, 0.7, 0.1, 0.98, 0.3, 0.85, 0.5, 0.15, 0.5, 0.02, 0.3)),
        ("rectangle", "body", (0.26, 0.4, 0.74, 0.92)),
        ("ellipse", "hole", (0.4, 0.02, 0.6, 0.2)),
        ("rectangle", "detail", (0.56, 0.4, 0.68, 0.54)),
    ),
    "backpack": (
        ("ellipse", "body", (0.18, 0.05, 0.82, 0.6)),
        ("rectangle", "body", (0.18, 0.32, 0.82, 0.92)),
        ("rectangle", "detail", (0.28, 0.6, 0.72, 0.85)),
        ("rectangle", "detail", (0.06, 0.4, 0.18, 0.8)),
    ),
    "camera": (
        ("rectangle", "body", (0.04, 0.26, 0.96, 0.84)),
        ("polygon", "body", (0.3, 0.27, 0.38, 0.14, 0.62, 0.14, 0.7, 0.27)),
        ("ellipse", "detail", (0.3, 0.34, 0.7, 0.76)),
        ("ellipse", "hole", (0.4, 0.44, 0.6, 0.66)),
    ),
    "card": (
        ("polygon", "body", (0.2, 0.06, 0.64, 0.06, 0.8, 0.24, 0.8, 0.94, 0.2, 0.94)),
        ("rectangle", "detail", (0.28, 0.12, 0.34, 0.26)),
        ("rectangle", "detail", (0.4, 0.12, 0.46, 0.26)),
        ("rectangle", "detail", (0.52, 0.12, 0.58, 0.26)),
    ),
    "notebook": (
        ("rectangle", "body", (0.16, 0.06, 0.86, 0.94)),
        ("rectangle", "detail", (0.16, 0.06, 0.25, 0.94)),
        ("rectangle", "hole", (0.4, 0.18, 0.74, 0.32)),
    ),
}  # fmt: skip

RGB: dict[str, Colour] = {
    "red": (214, 40, 40), "maroon": (120, 20, 40), "orange": (240, 130, 30), "tan": (206, 170, 125),
    "yellow": (240, 210, 50), "olive": (120, 125, 40), "lime": (160, 220, 60), "green": (40, 140, 60),
    "mint": (150, 225, 190), "teal": (20, 130, 130), "sky": (120, 195, 240), "blue": (40, 90, 210),
    "navy": (25, 35, 95), "lavender": (190, 165, 235), "purple": (115, 45, 165), "magenta": (205, 35, 145),
    "pink": (250, 165, 195), "brown": (110, 65, 35), "grey": (135, 140, 145), "black": (35, 35, 38),
}  # fmt: skip
CREAM: Colour = (250, 244, 228)
"""The second colour of patterns."""
TRIM: Colour = (70, 74, 80)
"""The colour of small parts."""
STYLE_BACKDROPS: tuple[Colour, ...] = (
    (226, 236, 242), (176, 176, 176), (240, 214, 186), (226, 212, 170),
    (252, 252, 252), (206, 184, 152), (190, 216, 236), (206, 200, 232),
)  # fmt: skip
PAPER: Colour = (246, 246, 246)


@lru_cache
def _pattern(name: str, period: int) -> Image.Image:
    """Mask [2 CANVAS, 2 CANVAS] of the parts in the second colour."""
    y, x = np.mgrid[0 : 2 * CANVAS, 0 : 2 * CANVAS]
    half = period // 2
    if name == "striped":
        mask = x % period < half
    elif name == "dotted":
        mask = (x % period - half) ** 2 + (y % period - half) ** 2 < (0.3 * period) ** 2
    elif name == "checked":
        mask = (x % period < half) ^ (y % period < half)
    elif name == "zigzag":
        mask = (y + abs(x % period - half)) % period < half
    elif name == "ringed":
        mask = y % period < half
    else:
        mask = np.zeros(x.shape, bool)
    return Image.fromarray((255 * mask).astype(np.uint8), "L")


def _layers(kind: str, box: tuple[float, float, float, float]) -> dict[str, Image.Image]:
    """Masks of body and detail; ``box`` is (left, top, width, height) on the canvas."""
    left, top, width, height = box
    masks = {name: Image.new("L", (CANVAS, CANVAS)) for name in ("body", "detail")}
    pens = {name: ImageDraw.Draw(mask) for name, mask in masks.items()}
    for tool, layer, coordinates in SILHOUETTES[kind]:
        xs = [left + width * x for x in coordinates[::2]]
        ys = [top + height * y for y in coordinates[1::2]]
        corners = (min(xs), min(ys), max(xs), max(ys))
        for name, pen in pens.items():
            fill = 255 if name == layer else 0
            if tool == "polygon":
                pen.polygon(list(zip(xs, ys, strict=True)), fill=fill)
            elif tool == "pie":
                pen.pieslice(corners, 0, 180, fill=fill)
            elif tool == "ellipse":
                pen.ellipse(corners, fill=fill)
            else:
                pen.rectangle(corners, fill=fill)
    return masks


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw_picture(products: Products, item: int, rng: np.random.Generator) -> bytes:
    """Draw one product; returns a JPEG of 224 to 300 pixels per side."""
    kind, pattern = list(KINDS)[products.kind[item]], PATTERNS[products.pattern[item]]
    red, green, blue = np.clip(RGB[COLOURS[products.colour[item]]] + rng.normal(0.0, 5.0, 3), 0, 255).astype(int)
    backdrop = STYLE_BACKDROPS[products.style[item] % len(STYLES)] if products.shows_style[item] else PAPER

    stretch = (0.72, 1.0, 1.3)[products.shape[item]] * rng.uniform(0.95, 1.05)
    size = rng.uniform(0.68, 0.76) * CANVAS
    width, height = min(size * stretch**0.5, 0.95 * CANVAS), min(size / stretch**0.5, 0.95 * CANVAS)
    left, top = rng.uniform(0.4, 0.6) * (CANVAS - width), rng.uniform(0.4, 0.6) * (CANVAS - height)
    masks = _layers(kind, (left, top, width, height))

    picture = Image.new("RGB", (CANVAS, CANVAS), backdrop)
    ImageDraw.Draw(picture).ellipse(
        (left, top + 0.9 * height, left + width, top + 1.02 * height), fill=tuple(round(0.85 * c) for c in backdrop)
    )
    x, y = (int(value) for value in rng.integers(0, CANVAS, 2))
    tones = _pattern(pattern, int(rng.choice([44, 56]))).crop((x, y, x + CANVAS, y + CANVAS))
    picture.paste((int(red), int(green), int(blue)), mask=masks["body"])
    picture.paste(CREAM, mask=ImageChops.multiply(masks["body"], tones))
    picture.paste(TRIM, mask=masks["detail"])
    shape = (int(rng.integers(224, 301)), int(rng.integers(224, 301)))
    return _jpeg(picture.resize(shape, Image.Resampling.BOX), int(rng.integers(80, 95)))


def thumbnail(jpeg: bytes) -> bytes:
    """The same picture, at most 60 pixels wide and high."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.thumbnail((60, 60))
        return _jpeg(picture, 80)


def placeholder() -> bytes:
    """The picture that the shop shows for products without a picture."""
    picture = Image.new("RGB", (250, 250), (230, 230, 230))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((60, 80, 190, 170), outline=(150, 150, 150), width=6)
    pen.line((60, 170, 190, 80), fill=(150, 150, 150), width=6)
    return _jpeg(picture, 85)
