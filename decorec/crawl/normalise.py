"""From the bytes of a picture file to a small upright RGB picture."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, UnidentifiedImageError

from decorec.crawl.outcome import PictureError

__all__ = ["normalise"]

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({TURNS[5], TURNS[6], TURNS[7], TURNS[8]})


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow reads."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # crawl.max_pixels is checked before anything is decoded
    return tuple(name for name in FORMATS if name in Image.OPEN)


def normalise(body: bytes, side: int, max_pixels: int) -> tuple[Image.Image, int, int]:
    """Decode ``body`` completely; returns (RGB picture, width, height), the latter of the original turned upright.

    The shorter side of the picture is at most ``side`` pixels. EXIF orientation is applied, transparency laid on
    white, 16 bits cut to 8, and of an animation the first frame taken.

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
            turn = TURNS.get(_orientation(original) or 1)
            target = _target(original.size, side)
            picture = _decoded(original, target)
    except UnidentifiedImageError as error:
        raise PictureError("not-an-image", permanent=True) from error
    except Image.DecompressionBombError as error:
        raise PictureError("bomb", permanent=True) from error
    except PictureError:
        raise
    # Decoders of hostile bytes raise whatever they stumble over (OSError, SyntaxError, struct.error, MemoryError, ...).
    except Exception as error:
        name = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise PictureError(name, permanent=True) from error
    if picture.size != target:
        picture = _bicubic(picture, *target)
    if turn is not None:
        picture = picture.transpose(turn)
        if turn in SIDEWAYS:
            width, height = height, width
    return picture, width, height


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF data, of whatever kind, do not make a picture worthless
        return None


def _decoded(picture: Image.Image, target: tuple[int, int]) -> Image.Image:
    """``picture`` as RGB, at least as large as ``target`` if it was.

    What is far too large is brought to about twice the target by the cheapest means, which keeps the quality of the
    bicubic step: JPEG decodes at 1/2, 1/4 or 1/8 of the size, other formats are averaged over blocks.
    """
    width, height = target
    picture.draft("RGB", (2 * width, 2 * height))
    picture.load()
    picture = _plain(picture)
    blocks = min(picture.width // (2 * width), picture.height // (2 * height))
    return _rgb(picture.reduce(blocks) if blocks > 1 else picture)


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    """``size`` with the shorter side cut to ``side``, if it is longer."""
    shorter = min(size)
    if shorter <= side:
        return size
    return max(side, round(size[0] * side / shorter)), max(side, round(size[1] * side / shorter))


def _plain(picture: Image.Image) -> Image.Image:
    """``picture`` in a mode that can be averaged: RGBA where it is transparent, F where it has more than 8 bits."""
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


def _bicubic(picture: Image.Image, width: int, height: int) -> Image.Image:
    """``picture`` at another size; equal to Pillow's bicubic resize but for rounding (1 of 255).

    By torch, whose vector code takes an eighth of Pillow's time; resizing is the most expensive part of a picture.
    """
    from torch.nn.functional import interpolate
    from torch.utils.dlpack import from_dlpack

    pixels = from_dlpack(_pixels(picture))
    planes = pixels.view(1, picture.height, picture.width, 4).permute(0, 3, 1, 2)
    resized = interpolate(planes, size=(height, width), mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    return Image.frombuffer("RGBX", (width, height), resized.contiguous().numpy(), "raw", "RGBX", 0, 1).convert("RGB")


def _pixels(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Red, green, blue and padding of each pixel of an RGB ``picture``: Pillow's own memory if that is one piece."""
    try:
        return pl.Series(picture).to_numpy()
    except ValueError:  # a large picture lies in several pieces
        return np.frombuffer(picture.tobytes("raw", "RGBX"), np.uint8)
