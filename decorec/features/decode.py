"""Batches for the encoder: decoded pictures and tokenised texts, prepared by threads or by worker processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from decorec.errors import DecorecError
from decorec.features.encoders import Geometry

__all__ = ["Batch", "Pictures", "Texts", "batches", "decode"]

DRAFT_MARGIN = 3


class Batch(NamedTuple):
    """Input of one forward pass; which texts were cut, ``truncated`` [batch]; why there is no input, or ""."""

    inputs: Tensor
    truncated: npt.NDArray[np.bool_]
    problem: str = ""


class Source(Protocol):
    """Inputs that any process can prepare, batch by batch."""

    def __len__(self) -> int:
        """Number of inputs."""

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Inputs start to stop as one batch."""


class Pictures:
    """Stored pictures -> [batch, height, width, 3] uint8."""

    def __init__(self, paths: Sequence[Path], geometry: Geometry) -> None:
        self._paths = list(paths)
        self._geometry = geometry

    def __len__(self) -> int:
        return len(self._paths)

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Decode pictures start to stop."""
        paths = self._paths[start:stop]
        try:
            if threads > 1:
                with ThreadPoolExecutor(threads) as pool:
                    pictures = list(pool.map(self._decode, paths))
            else:
                pictures = [self._decode(path) for path in paths]
        except DecorecError as error:
            return Batch(torch.empty(0), np.zeros(0, dtype=np.bool_), str(error))
        return Batch(torch.from_numpy(np.stack(pictures)), np.zeros(len(paths), dtype=np.bool_))

    def _decode(self, path: Path) -> npt.NDArray[np.uint8]:
        return decode(path, self._geometry)


class Texts:
    """Texts -> tokens [batch, context length] int64, cut to the context length of the model."""

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self._texts = list(texts)
        self._tokenizer = tokenizer
        self._padding = int(tokenizer([""])[0, -1])

    def __len__(self) -> int:
        return len(self._texts)

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Tokenise texts start to stop."""
        texts = self._texts[start:stop]
        tokens: Tensor = self._tokenizer(texts)
        truncated: npt.NDArray[np.bool_] = (tokens[:, -1] != self._padding).numpy()
        full = np.flatnonzero(truncated)
        if len(full):
            longer = self._tokenizer([texts[row] for row in full], context_length=tokens.shape[1] + 1)
            truncated[full] = (longer[:, -1] != self._padding).numpy()
        return Batch(tokens, truncated)


def decode(path: Path, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """One stored picture as the model's input, [height, width, 3] uint8.

    A picture much larger than the model's input is decoded at a fraction of its size (JPEG allows 1/2, 1/4 and 1/8),
    but never below three times the input; the resize then hides the difference to a full decode.

    Raises:
        DecorecError: the file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as picture:
            picture.draft(None, (geometry.size * DRAFT_MARGIN, geometry.size * DRAFT_MARGIN))
            return np.asarray(geometry(picture), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DecorecError(
            f"{path}: expected a stored picture, found {error}; delete this file and images.parquet, then run the "
            "crawl step again"
        ) from error


class _Batches(Dataset[Batch]):
    def __init__(self, source: Source, ranges: Sequence[tuple[int, int]], threads: int) -> None:
        self._source = source
        self._ranges = list(ranges)
        self._threads = threads

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, index: int) -> Batch:
        if index >= len(self._ranges):
            raise IndexError(index)
        return self._source.prepare(*self._ranges[index], self._threads)


def batches(source: Source, ranges: Sequence[tuple[int, int]], threads: int, device: torch.device) -> Iterator[Batch]:
    """Prepare the batches ``ranges`` (start, stop) of ``source`` in order.

    On a GPU, worker processes prepare pinned batches while the model computes. On a CPU the model uses every core
    itself, so threads prepare a batch between two passes.

    Raises:
        DecorecError: an input could not be prepared.
    """
    if device.type == "cpu":
        loader: Any = _Batches(source, ranges, threads)
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        loader = DataLoader(
            _Batches(source, ranges, 1),
            batch_size=None,
            num_workers=max(1, threads),
            pin_memory=True,
            prefetch_factor=4,
            multiprocessing_context=context,
        )
    for batch in loader:
        if batch.problem:
            raise DecorecError(batch.problem)
        yield batch
