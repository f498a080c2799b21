"""Turns the bytes of a picture file into a small upright RGB picture, and this into the stored JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.shortage import shortage

__all__ = ["Pixels", "as_jpeg", "normalise"]

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3): red, green and blue."""

QUALITY = 92
RECIPE = 2
"""Number of this way of making pictures small. Raise it with an edit that changes the pictures: those that are stored
were made by the old way, and the journal of a crawl keeps them as long as the number is the same."""

LONGEST_RATIO = 50
"""A picture whose longer side is more than so many times the shorter one is refused: it is a rule, a spacer or a
texture. An encoder would see a few of its pixels, and enlarge them to a picture of any size."""
LONGEST_SIDE = 65_500
"""Pixels; the longest side that the JPEG library writes."""
BAND = 1 << 20
"""Pixels of a picture that are converted and averaged at a time."""
LARGE = 64_000_000
"""Bytes. A picture that needs more memory while it is decoded is decoded when no other large one is."""
BYTES = {"WEBP": 16, "AVIF": 16}
"""Largest number of bytes per pixel that decoding takes, by format; other formats take ``USUAL_BYTES``."""
USUAL_BYTES = 8

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
TURNED = frozenset({"TIFF"})
"""Formats that Pillow turns upright itself."""


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow reads."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # crawl.max_pixels is checked before anything is decoded
    return tuple(name for name in FORMATS if name in Image.OPEN)


def normalise(
    body: bytes, side: int, max_pixels: int, alone: Callable[[], AbstractContextManager[object]] = nullcontext
) -> tuple[Pixels, int, int]:
    """Decode ``body`` completely; returns (picture, width, height), the latter two of the upright original.

    The shorter side of the picture is at most ``side`` pixels, the longer one at most 65,500. The orientation is
    applied, transparent parts become white, more than 8 bits are reduced to 8, and of an animation the first frame is
    taken. A picture that needs more than ``LARGE`` bytes of memory is decoded inside the context that ``alone`` makes.

    Raises:
        PictureError: permanent; "empty", "not-an-image", "bomb" (more than ``max_pixels``), "aspect-ratio" (too narrow
            or too flat), "truncated", "unreadable"; or transient, "out-of-memory".
    """
    if not body:
        raise PictureError("empty", permanent=True)
    try:
        with Image.open(BytesIO(body), formats=_formats()) as original:
            width, height = original.size
            if width * height > max_pixels:
                raise PictureError("bomb", permanent=True)
            if max(width, height) > LONGEST_RATIO * min(width, height):
                raise PictureError("aspect-ratio", permanent=True)
            target = _target(original.size, side)
            with alone() if _memory(original, target) > LARGE else nullcontext():
                pixels = _decoded(original, body, target)
            # Afterwards, because Pillow decodes a PNG in order to find its orientation.
            orientation = None if original.format in TURNED else _orientation(original)
        if pixels.shape[1::-1] != target:
            pixels = _bicubic(pixels, *target)
        if orientation in TURNS:
            pixels = np.ascontiguousarray(TURNS[orientation](pixels))
            if orientation in SIDEWAYS:
                width, height = height, width
    except UnidentifiedImageError as error:
        raise PictureError("not-an-image", permanent=True) from error
    except Image.DecompressionBombError as error:
        raise PictureError("bomb", permanent=True) from error
    except MemoryError as error:
        raise PictureError("out-of-memory", permanent=False) from error
    except PictureError:
        raise
    # Decoders of broken bytes raise many kinds of errors (OSError, SyntaxError, struct.error, ...).
    except Exception as error:
        if shortage(error):
            raise
        name = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise PictureError(name, permanent=True) from error
    return pixels, width, height


def as_jpeg(pixels: Pixels) -> bytes:
    """The stored file of a normalised picture.

    Raises:
        PictureError: permanent, "not-storable"; or transient, "out-of-memory".
    """
    try:
        file: bytes = simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420", fastdct=False)
    except MemoryError as error:
        raise PictureError("out-of-memory", permanent=False) from error
    except Exception as error:
        raise PictureError("not-storable", permanent=True) from error
    return file


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:  # a picture with broken EXIF data is still usable
        return None


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    """``size``, made smaller if its shorter side is longer than ``side``, or its longer one than ``LONGEST_SIDE``."""
    shorter, longer = sorted(size)
    if longer * min(side, shorter) > LONGEST_SIDE * shorter:
        side = LONGEST_SIDE * shorter // longer
    if shorter <= side:
        return size
    return max(side, round(size[0] * side / shorter)), max(side, round(size[1] * side / shorter))


def _is_far(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether a picture is so much larger than ``target`` that it is first reduced in a fast way."""
    return min(size[0] // (2 * target[0]), size[1] // (2 * target[1])) > 1


def _memory(picture: Image.Image, target: tuple[int, int]) -> int:
    """Bytes that decoding takes at most, without those of the file and of the small picture."""
    pixels = picture.width * picture.height
    if picture.format in ("JPEG", "MPO") and _is_far(picture.size, target):
        # It is decoded at a smaller size, line by line; one in several passes holds the coefficients of all pixels.
        return pixels * (6 if picture.info.get("progressive") else 1)
    return pixels * BYTES.get(picture.format or "", USUAL_BYTES)


def _decoded(picture: ImageFile, body: bytes, target: tuple[int, int]) -> Pixels:
    """``picture``, opened from ``body``; at least as large as ``target``, unless it was smaller before.

    A much larger picture is first reduced to about twice the target in a fast way, which keeps the quality of the
    bicubic step: JPEG decodes at 1/2, 1/4 or 1/8 of the size, other formats are averaged over blocks. A picture is
    converted and averaged in bands, so that it is held in full once and not at every step.
    """
    if picture.format in ("JPEG", "MPO") and picture.mode == "RGB" and not _is_far(picture.size, target):
        # The same libjpeg as Pillow's, a third faster; pictures that it refuses are left to Pillow.
        with suppress(ValueError):
            found: Pixels = simplejpeg.decode_jpeg(body, "RGB")
            return found
    width, height = target
    picture.draft("RGB", (2 * width, 2 * height))
    values = _values(picture)
    picture.load()
    convert = _shades(picture, values) if picture.mode.startswith(("I", "F")) else _plain
    blocks = max(1, min(picture.width // (2 * width), picture.height // (2 * height)))
    pixels = np.empty((-(-picture.height // blocks), -(-picture.width // blocks), 3), np.uint8)
    for top, band in _bands(picture, blocks):
        small = _rgb(_reduced(convert(band), blocks))
        pixels[top // blocks :][: small.height] = np.asarray(small)
    return pixels


def _bands(picture: Image.Image, blocks: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """(first row, band) of bands over the whole width, whose heights are multiples of ``blocks`` but for the last."""
    rows = blocks * max(1, BAND // (picture.width * blocks))
    if rows >= picture.height:
        yield 0, picture
        return
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _reduced(picture: Image.Image, blocks: int) -> Image.Image:
    return picture.reduce(blocks) if blocks > 1 else picture


@dataclass(frozen=True)
class _Values:
    """What the numbers of a picture mean, where Pillow does not say it or says it wrongly."""

    white: int | None = None
    """Value of white; None if the format does not fix it."""
    unsigned: bool = False
    """Whether whole numbers of 32 bits, which Pillow takes for signed ones, are unsigned."""
    inverted: bool = False
    """Whether 0 is white."""


BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
WHITE_IS_ZERO = 0


def _values(picture: ImageFile) -> _Values:
    """The meaning of the values of ``picture``, which is not loaded yet. The transparent colour is put right.

    A PNG names its transparent colour in its own bits. Pillow gives 8 bits per channel in place of 2, 4 or three times
    16, but leaves the transparent colour as it is (PNG, 11.3.2.1).
    """
    raw = picture.tile[0][3] if picture.tile else ""
    raw = raw[0] if isinstance(raw, tuple) else raw
    clear = picture.info.get("transparency")
    if picture.format == "PNG" and clear is not None:
        if raw in ("L;2", "L;4"):
            picture.info["transparency"] = clear * 255 // (3 if raw == "L;2" else 15)
        elif raw == "RGB;16B":
            picture.info["transparency"] = tuple(value >> 8 for value in clear)
    if picture.format != "TIFF":
        return _Values(white=65_535)
    tags = picture.tag_v2  # type: ignore[attr-defined]
    return _Values(
        white=2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1 if picture.mode.startswith("I;16") else None,
        unsigned=isinstance(raw, str) and raw.startswith("I;32") and not raw.endswith("S"),
        inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
    )


WHITES = (255, 65_535, 2**32 - 1)
"""Values that stand for white where the format does not say which one does: the least that no pixel exceeds. For
fractions, 1 comes before these."""


def _shades(picture: Image.Image, values: _Values) -> Callable[[Image.Image], Image.Image]:
    """The conversion of parts of ``picture``, shades of grey in more than 8 bits, to 8 bits."""
    clear = picture.info.get("transparency")

    def numbers(part: Image.Image) -> npt.NDArray[np.float32]:
        found = np.asarray(part)
        return (found.view(np.uint32) if values.unsigned else found).astype(np.float32)

    white = values.white
    if white is None:
        largest = max(np.fmax.reduce(numbers(band), axis=None) for _, band in _bands(picture))
        whites = (1, *WHITES) if picture.mode == "F" else WHITES
        white = next((value for value in whites if largest <= value), WHITES[-1])

    def convert(part: Image.Image) -> Image.Image:
        shade = np.clip(np.nan_to_num(numbers(part)) * (255 / white), 0, 255)
        grey = np.round(255 - shade if values.inverted else shade).astype(np.uint8)
        if clear is None:
            return Image.fromarray(grey)
        opaque = np.where(np.asarray(part) == clear, 0, 255).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque))).convert("RGBA")

    return convert


def _plain(picture: Image.Image) -> Image.Image:
    """``picture`` in a mode that can be averaged: RGBA if it is transparent."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture if picture.mode in ("RGB", "L", "CMYK", "YCbCr") else picture.convert("RGB")


def _rgb(picture: Image.Image) -> Image.Image:
    """``picture`` as RGB, transparent parts on white."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
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
