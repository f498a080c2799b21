"""The store of pictures: one small JPEG per content."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from decorec.crawl.normalise import load_decoders, normalise
from decorec.crawl.outcome import Outcome, PictureError

__all__ = ["Store", "picture_path"]

QUALITY = 92


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
        # One picture per core at a time: more would not be faster, and large pictures need much memory. In threads of
        # its own, because memory that every fetching thread takes and gives back is costly to the system.
        self._decoders = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "crawl-decoder")
        # The size is checked against crawl.max_pixels before anything is decoded; Pillow's own limit is not needed.
        Image.MAX_IMAGE_PIXELS = None
        load_decoders()

    def close(self) -> None:
        """End the decoding threads and remove the folder of parts."""
        self._decoders.shutdown()
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
            known = self._decoders.submit(self._keep, body, sha256).result()
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
