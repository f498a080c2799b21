"""Features of many pictures or texts, computed in chunks; finished chunks are kept after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.features.decode import Source, batches
from decorec.features.encoder_inputs import Distinct
from decorec.features.encoders import Encoder
from decorec.progress import progress

__all__ = ["Extraction", "Job", "chunk_folder", "extract"]

log = logging.getLogger("decorec")
CHUNK = 2_048


@dataclass(frozen=True)
class Job:
    """The distinct inputs of one modality, how to prepare and encode them, and the folder of finished chunks."""

    label: str
    distinct: Distinct
    source: Source
    encode: Callable[[Tensor], Tensor]
    folder: Path


@dataclass(frozen=True)
class Extraction:
    """Features [distinct, width] float32, and facts for the metadata of the file."""

    x: npt.NDArray[np.float32]
    facts: dict[str, str]


def chunk_folder(cache: Path, encoder: Mapping[str, str], batch_size: int, inputs: list[str]) -> Path:
    """Folder of the finished chunks of one extraction: the same only for the same encoder, batches and inputs."""
    key = json.dumps([dict(encoder), batch_size, CHUNK, inputs], sort_keys=True)
    return cache / "features" / hashlib.sha256(key.encode()).hexdigest()


def extract(job: Job, encoder: Encoder, batch_size: int, threads: int) -> Extraction:
    """Encode the inputs of ``job``; finished chunks in its folder are read, new ones are written there.

    A batch never crosses the border of a chunk, so that it has the same inputs whether or not the step was interrupted.
    """
    count = len(job.source)
    chunks = list(_ranges(0, count, max(1, CHUNK // batch_size) * batch_size))
    missing = [chunk for chunk in chunks if not _chunk_file(job.folder, chunk).is_file()]
    ranges = [part for chunk in missing for part in _ranges(*chunk, batch_size)]
    prepared = batches(job.source, ranges, threads, encoder.device)
    with progress(f"encode {job.label}", count, job.label) as advance:
        advance(count - sum(stop - start for start, stop in missing))
        for chunk in missing:
            features, truncated = [], 0
            for start, stop in _ranges(*chunk, batch_size):
                batch = next(prepared)
                features.append(job.encode(batch.inputs))
                truncated += batch.truncated
                advance(stop - start)
            x = torch.cat(features).cpu().numpy()
            write_arrays(_chunk_file(job.folder, chunk), {"x": x}, {"truncated": str(truncated)})
    parts = [read_arrays(_chunk_file(job.folder, chunk)) for chunk in chunks]
    # Without any input, the model tells the width, which costs a forward pass.
    found = [arrays["x"] for arrays, _ in parts] or [np.zeros((0, encoder.width), dtype=np.float32)]
    x = np.concatenate(found)
    return Extraction(x, _facts(job, count, sum(int(metadata["truncated"]) for _, metadata in parts)))


def _facts(job: Job, count: int, truncated: int) -> dict[str, str]:
    if job.label != "texts":
        return {}
    log.info("features: %d of %d texts were longer than the context length of the model and were cut", truncated, count)
    return {"truncated_texts": f"{truncated / max(1, count):.4f}"}


def _ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def _chunk_file(folder: Path, chunk: tuple[int, int]) -> Path:
    return folder / f"{chunk[0]:09d}-{chunk[1]:09d}.safetensors"
