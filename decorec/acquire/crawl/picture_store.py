"""The store of pictures: one small JPEG per distinct file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from decorec.acquire.crawl.decoder_pool import DecoderPool
from decorec.acquire.crawl.image_normalisation import as_jpeg, normalise
from decorec.acquire.crawl.outcome import Outcome, PictureError
from decorec.artifacts.layout import picture_path
from decorec.artifacts.schemas.images import Status

__all__ = ["Store"]


class Store:
    """Pictures by the hash of their original body; equal bodies are decoded once.

    A picture is written into ``parts``, a folder that no other crawl uses, and then renamed. A kill therefore leaves
    no incomplete picture; the next run removes what is left in ``parts``.

    Two decoding processes for each core take ``image_normalisation.LARGE`` bytes each and a picture's file twice. Only
    one of them decodes a larger picture at a time. It takes up to 16 bytes for each pixel of ``max_pixels``.
    """

    def __init__(self, cache: Path, parts: Path, side: int, max_pixels: int) -> None:
        self._cache = cache
        self._known: dict[str, Outcome] = {}
        self._parts = parts
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True, exist_ok=True)
        # Two for each core, so that no core is idle while a picture is written or handed over.
        self._decoders = DecoderPool(_Keeper(cache, parts, side, max_pixels), 2 * len(os.sched_getaffinity(0)))

    def close(self) -> None:
        """End the decoding processes and remove the folder of parts."""
        self._decoders.close()
        shutil.rmtree(self._parts)

    def knows(self, outcome: Outcome) -> bool:
        """Whether the picture of an earlier run is still stored; if so, its body is not decoded again."""
        assert outcome.sha256 is not None
        try:
            # A power failure can leave an empty file.
            there = picture_path(self._cache, outcome.sha256).stat().st_size > 0
        except FileNotFoundError:
            return False
        if there:
            self._known[outcome.sha256] = replace(outcome, http_status=None, attempts=0)
        return there

    def add(self, body: bytes) -> Future[Outcome]:
        """Check, normalise and store ``body``; the outcome has the hash and the sizes in bytes and pixels.

        It is "permanent" with the class of the defect if ``body`` is not a complete picture. It is an exception if the
        picture cannot be written. Waits while the decoding processes are busy.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        known = self._known.get(sha256)
        if known is None:
            result = self._decoders.submit(sha256, body)
            result.add_done_callback(self._remember)
            return result
        result = Future()
        result.set_result(known)
        return result

    def _remember(self, result: Future[Outcome]) -> None:
        if result.exception() is None:
            outcome = result.result()
            assert outcome.sha256 is not None
            self._known[outcome.sha256] = outcome


@dataclass(frozen=True)
class _Keeper:
    """The part of the store that runs in the decoding processes."""

    cache: Path
    parts: Path
    side: int
    max_pixels: int
    made: set[Path] = field(default_factory=set)

    def __call__(self, sha256: str, body: bytes) -> Outcome:
        _use_one_thread()
        try:
            pixels, width, height = normalise(body, self.side, self.max_pixels, self._alone)
            file = as_jpeg(pixels)
        except PictureError as failure:
            status: Status = "permanent" if failure.permanent else "transient"
            return Outcome(status, failure.error, sha256=sha256, bytes=len(body))
        own = self.parts / str(os.getpid())  # processes that create files in one folder wait for each other
        part, path = own / sha256, picture_path(self.cache, sha256)
        for folder in (own, path.parent):
            if folder not in self.made:
                folder.mkdir(parents=True, exist_ok=True)
                self.made.add(folder)
        part.write_bytes(file)
        part.replace(path)
        return Outcome("ok", sha256=sha256, width=width, height=height, bytes=len(body))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process is inside. The end of a process ends its lock, however it ends."""
        folder = os.open(self.parts, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


@cache
def _use_one_thread() -> None:
    """Use one thread only: there is a process for each core."""
    import torch  # loaded before this process was forked; the crawl's own process does not load it

    torch.set_num_threads(1)
