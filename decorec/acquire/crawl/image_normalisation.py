"""Turns the bytes of a picture file into a small upright RGB picture, and this into the stored JPEG."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from decorec.acquire.crawl.outcome import PictureError

__all__ = ["Pixels", "as_jpeg", "normalise"]

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3): red, green and blue."""

QUALITY = 92
RECIPE = 1
"""Number of this way of making pictures small. Raise it with an edit that changes the pictures: those that are stored
were made by the old way, and the journal of a crawl keeps them as long as the number is the same."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
ORIENTATION = 0x0112
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""The operation that turns a picture upright, by the value of its EXIF tag (EXIF 2.3, 4.6.4)."""
SIDEWAYS = frozenset({5, 6, 7, 8})


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow reads."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # crawl.max_pixels is checked before anything is decoded
    return tuple(name for name in FORMATS if name in Image.OPEN)


def normalise(body: bytes, side: int, max_pixels: int) -> tuple[Pixels, int, int]:
    """Decode ``body`` completely; returns (picture, width, height), the latter two of the upright original.

    The shorter side of the picture is at most ``side`` pixels. EXIF orientation is applied, transparent parts
    become white, 16 bits are reduced to 8, and of an animation the first frame is taken.

    Raises:
        PictureError: permanent; "empty", "not-an-image", "bomb" (more than ``max_pixels``), "truncated", "unreadable".
    """
    if not body:
        raise PictureError("empty", permanent=True)
    try:
        with Image.open(BytesIO(body), formats=_formats()) as original:
            if original.width * original.height > max_pixels:
                raise PictureError("bomb", permanent=True)
            width, height = original.size
            orientation = _orientation(original)
            target = _target(original.size, side)
            pixels = _decoded(original, body, target)
    except UnidentifiedImageError as error:
        raise PictureError("not-an-image", permanent=True) from error
    except Image.DecompressionBombError as error:
        raise PictureError("bomb", permanent=True) from error
    except PictureError:
        raise
    # Decoders of broken bytes raise many kinds of errors (OSError, SyntaxError, struct.error, MemoryError, ...).
    except Exception as error:
        name = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise PictureError(name, permanent=True) from error
    if pixels.shape[1::-1] != target:
        pixels = _bicubic(pixels, *target)
    if orientation in TURNS:
        pixels = np.ascontiguousarray(TURNS[orientation](pixels))
        if orientation in SIDEWAYS:
            width, height = height, width
    return pixels, width, height


def as_jpeg(pixels: Pixels) -> bytes:
    """The stored file of a normalised picture."""
    file: bytes = simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420", fastdct=False)
    return file


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:  # a picture with broken EXIF data is still usable
        return None


def _decoded(picture: Image.Image, body: bytes, target: tuple[int, int]) -> Pixels:
    """``picture``, opened from ``body``; at least as large as ``target``, unless it was smaller before.

    A much larger picture is first reduced to about twice the target in a fast way, which keeps the quality of the
    bicubic step: JPEG decodes at 1/2, 1/4 or 1/8 of the size, other formats are averaged over blocks.
    """
    width, height = target
    far = min(picture.width // (2 * width), picture.height // (2 * height)) > 1
    if picture.format in ("JPEG", "MPO") and picture.mode == "RGB" and not far:
        # The same libjpeg as Pillow's, a third faster; pictures that it refuses are left to Pillow.
        with suppress(ValueError):
            pixels: Pixels = simplejpeg.decode_jpeg(body, "RGB")
            return pixels
    picture.draft("RGB", (2 * width, 2 * height))
    picture.load()
    picture = _plain(picture)
    blocks = min(picture.width // (2 * width), picture.height // (2 * height))
    return np.array(_rgb(picture.reduce(blocks) if blocks > 1 else picture))


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    """``size`` with the shorter side cut to ``side``, if it is longer."""
    shorter = min(size)
    if shorter <= side:
        return size
    return max(side, round(size[0] * side / shorter)), max(side, round(size[1] * side / shorter))


def _plain(picture: Image.Image) -> Image.Image:
    """``picture`` in a mode that can be averaged: RGBA if it is transparent, F if it has more than 8 bits."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode.startswith(("I", "F")):
        return picture.convert("F").point(lambda value: value * (1 / 257)) if picture.mode != "F" else picture
    return picture if picture.mode in ("RGB", "L", "CMYK", "YCbCr") else picture.convert("RGB")


def _rgb(picture: Image.Image) -> Image.Image:
    """``picture`` as RGB, transparent parts on white."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    elif picture.mode == "F":
        picture = picture.convert("L")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _bicubic(pixels: Pixels, width: int, height: int) -> Pixels:
    """``pixels`` at another size; equal to Pillow's bicubic resize except for rounding (1 of 255).

    Uses torch, whose vector code takes an eighth of Pillow's time: resizing is the slowest part of the work.
    """
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
    found: Pixels = resized[0].permute(1, 2, 0).contiguous().numpy()
    return found
