"""Batches for the encoder: decoded pictures and tokenised texts, prepared by threads or by worker processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from decorec.errors import DecorecError

__all__ = ["Batch", "Geometry", "Pictures", "Source", "Texts", "batches", "decode"]

DRAFT_MARGIN = 3


@dataclass(frozen=True)
class Geometry:
    """The steps of a network's preprocessing that change the picture: resize, crop, colour mode."""

    steps: tuple[Callable[[Any], Any], ...]
    size: int

    def __call__(self, picture: Any) -> Any:
        """The picture in the network's input size, as a PIL picture in RGB."""
        for step in self.steps:
            picture = step(picture)
        return picture


class Batch(NamedTuple):
    """Input of one forward pass; which texts were cut, ``truncated`` [batch]; why there is no input, or ""."""

    inputs: Tensor
    truncated: npt.NDArray[np.bool_]
    problem: str = ""


class Source(Protocol):
    """Inputs that are prepared batch by batch."""

    portable: bool
    """Whether another process can prepare them."""

    @property
    def parts(self) -> Sequence[npt.NDArray[np.int64]]:
        """Positions of the values, in the order in which they are prepared; the inputs of a part have one shape.

        The part of an input depends on its own value alone.
        """

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Inputs start to stop as one batch."""


class Pictures:
    """Stored pictures -> [batch, height, width, 3] uint8."""

    portable = True

    def __init__(self, paths: Sequence[Path], geometry: Geometry) -> None:
        self._paths = list(paths)
        self._geometry = geometry
        self.parts: list[npt.NDArray[np.int64]] = [np.arange(len(self._paths), dtype=np.int64)]

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

    portable = True

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self._texts = list(texts)
        self._tokenizer = tokenizer
        self._padding = int(tokenizer([""])[0, -1])
        self.parts: list[npt.NDArray[np.int64]] = [np.arange(len(self._texts), dtype=np.int64)]

    def prepare(self, start: int, stop: int, threads: int) -> Batch:
        """Tokenise texts start to stop."""
        texts = self._texts[start:stop]
        tokens: Tensor = self._tokenizer(texts)
        # The last token of a full text may be the padding as well (SigLIP ends a text with it); the one before is not.
        truncated: npt.NDArray[np.bool_] = (tokens[:, -2:] != self._padding).any(1).numpy()
        full = np.flatnonzero(truncated)
        if len(full):
            length = tokens.shape[1]
            longer = self._tokenizer([texts[row] for row in full], context_length=length + 1)
            more = (longer[:, :length] != tokens[full]).any(1) | (longer[:, length] != self._padding)
            truncated[full] = more.numpy()
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
    itself, so threads prepare a batch between two passes; so do they what no other process can prepare.

    Raises:
        DecorecError: an input could not be prepared.
    """
    if device.type == "cpu" or not source.portable:
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
