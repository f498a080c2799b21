"""From the bytes of a picture file to the small upright RGB JPEG that is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from decorec.crawl.outcome import Outcome, PictureError

__all__ = ["Store", "normalise", "picture_path"]

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
QUALITY = 92
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
    """The formats that this build of Pillow reads. Loading its plugins is not safe in several threads at once."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def picture_path(cache: Path, sha256: str) -> Path:
    """Where the picture whose original body has hash ``sha256`` is kept under the cache folder."""
    return cache / "images" / sha256[:2] / f"{sha256}.jpg"


class Store:
    """Pictures by the hash of their original body; equal bodies are decoded once.

    A picture is written into ``parts``, a folder that no other process uses, and then renamed, so that a kill leaves
    no half a picture; what it leaves in ``parts`` is removed by the next run.
    """

    def __init__(self, cache: Path, parts: Path, side: int, max_pixels: int) -> None:
        self._cache = cache
        self._side = side
        self._max_pixels = max_pixels
        self._known: dict[str, Outcome | PictureError] = {}
        self._folders: set[str] = set()
        self._parts = parts
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        # One picture per core at a time: more would not be faster, and large pictures need much memory.
        self._slots = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
        # The size is checked against crawl.max_pixels before anything is decoded; Pillow's own limit is not needed.
        Image.MAX_IMAGE_PIXELS = None
        _formats()

    def close(self) -> None:
        """Remove the folder of parts."""
        shutil.rmtree(self._parts)

    def knows(self, outcome: Outcome) -> bool:
        """Whether the picture that an earlier run stored is there; if so, its body is not decoded again."""
        assert outcome.sha256 is not None
        try:
            # An empty file is what a power failure leaves.
            there = picture_path(self._cache, outcome.sha256).stat().st_size > 0
        except FileNotFoundError:
            return False
        if there:
            self._known[outcome.sha256] = outcome
        return there

    def add(self, body: bytes) -> Outcome:
        """Verify, normalise and keep ``body``; returns hash, size in bytes and in pixels.

        The outcome is "permanent" with the class of the defect if ``body`` is not a whole picture.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        known = self._known.get(sha256)
        if known is None:
            with self._slots:
                known = self._keep(body, sha256)
            self._known[sha256] = known
        if isinstance(known, PictureError):
            return Outcome("permanent", known.error, sha256=sha256, bytes=len(body))
        return Outcome("ok", None, None, 0, sha256, known.width, known.height, len(body))

    def _keep(self, body: bytes, sha256: str) -> Outcome | PictureError:
        try:
            picture, width, height = normalise(body, self._side, self._max_pixels)
        except PictureError as failure:
            return failure
        # To a file and not to memory: only then does Pillow encode without holding the interpreter lock.
        part = self._parts / f"{sha256}.{threading.get_ident()}"
        picture.save(part, "JPEG", quality=QUALITY)
        path = picture_path(self._cache, sha256)
        if path.parent.name not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent.name)
        part.replace(path)
        return Outcome("ok", width=width, height=height)


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
            picture = _small(original, side)
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


def _small(picture: Image.Image, side: int) -> Image.Image:
    """``picture`` as RGB, its shorter side at most ``side`` pixels."""
    width, height = _target(picture.size, side)
    # JPEG decodes at 1/2, 1/4 or 1/8 of the size at little cost; twice the target keeps the quality of the resize.
    picture.draft("RGB", (2 * width, 2 * height))
    picture.load()
    plain = _plain(picture)
    if plain.size != (width, height):
        # Hamming: nearly as faithful as bicubic, at little more than half its cost.
        plain = plain.resize((width, height), Image.Resampling.HAMMING)
    return _rgb(plain)


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    shorter = min(size)
    if shorter <= side:
        return size
    return max(side, round(size[0] * side / shorter)), max(side, round(size[1] * side / shorter))


def _plain(picture: Image.Image) -> Image.Image:
    """``picture`` in a mode that can be resized: RGBA where it is transparent, F where it has more than 8 bits."""
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
