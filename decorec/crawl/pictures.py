"""From the bytes of a picture file to the small upright RGB JPEG that is kept."""

from __future__ import annotations

import hashlib
import os
import threading
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from decorec.artifacts import atomic_path
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


def picture_path(cache: Path, sha256: str) -> Path:
    """Where the picture whose original body has hash ``sha256`` is kept under the cache folder."""
    return cache / "images" / sha256[:2] / f"{sha256}.jpg"


class Store:
    """Pictures by the hash of their original body; equal bodies are decoded once."""

    def __init__(self, cache: Path, side: int, max_pixels: int, decoders: int | None = None) -> None:
        """``decoders``: pictures decoded at the same time (default: one per core); bounds memory as well."""
        self._cache = cache
        self._side = side
        self._max_pixels = max_pixels
        self._known: dict[str, Outcome | PictureError] = {}
        self._slots = threading.BoundedSemaphore(decoders or len(os.sched_getaffinity(0)))
        # The size is checked against crawl.max_pixels before anything is decoded; Pillow's own limit is not needed.
        Image.MAX_IMAGE_PIXELS = None

    def know(self, outcome: Outcome) -> None:
        """Take over a picture that an earlier run stored."""
        if outcome.sha256 is not None and self.holds(outcome.sha256):
            self._known[outcome.sha256] = outcome

    def holds(self, sha256: str) -> bool:
        """Whether the picture is there; an empty file is what a power failure leaves of one."""
        try:
            return picture_path(self._cache, sha256).stat().st_size > 0
        except FileNotFoundError:
            return False

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
        with atomic_path(picture_path(self._cache, sha256)) as path:
            # To a path and not to memory: only then does Pillow encode without holding the interpreter lock.
            picture.save(path, "JPEG", quality=QUALITY)
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
        with Image.open(BytesIO(body), formats=FORMATS) as original:
            if original.width * original.height > max_pixels:
                raise PictureError("bomb", permanent=True)
            turn = TURNS.get(_orientation(original) or 1)
            picture = _small(original, side)
    except UnidentifiedImageError as error:
        raise PictureError("not-an-image", permanent=True) from error
    except PictureError:
        raise
    # Decoders of hostile bytes raise whatever they stumble over (OSError, SyntaxError, struct.error, MemoryError, ...).
    except Exception as error:
        name = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise PictureError(name, permanent=True) from error
    width, height = original.size
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
    size = _target(picture.size, side)
    original = picture.size
    # JPEG decodes at 1/2, 1/4 or 1/8 of the size at little cost; twice the target keeps the quality of the resize.
    picture.draft("RGB" if picture.mode in ("RGB", "YCbCr") else picture.mode, (2 * size[0], 2 * size[1]))
    picture.load()
    flat = _flat(picture)
    return flat.resize(size, Image.Resampling.BICUBIC) if size != original else flat


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    shorter = min(size)
    if shorter <= side:
        return size
    return max(side, round(size[0] * side / shorter)), max(side, round(size[1] * side / shorter))


def _flat(picture: Image.Image) -> Image.Image:
    """``picture`` as 8-bit RGB, transparent parts on white."""
    if picture.mode.startswith(("I", "F")):
        # 16 bits (and more) are scaled, not clipped as convert() does; floats are taken as 0 to 255.
        scale = 1.0 if picture.mode == "F" else 1 / 256
        picture = picture.convert("F").point(lambda value: value * scale).convert("L")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return picture.convert("RGB") if picture.mode != "RGB" else picture
