"""Features of many pictures or texts, computed in chunks; finished chunks are kept, also after a kill."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.features.decode import batches
from decorec.features.encoder import Encoder, Modality
from decorec.features.row_cache import RowCache
from decorec.progress import progress

__all__ = ["Extraction", "Job", "extract"]

log = logging.getLogger("decorec")
CHUNK = 2_048
LABELS = {"text": "texts", "image": "pictures"}


@dataclass(frozen=True)
class Job:
    """The distinct inputs of one modality (texts, or paths of stored pictures), and their keys."""

    modality: Modality
    values: Sequence[Any]
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Extraction:
    """Features [distinct, width] float32, and facts for the metadata of the file."""

    x: npt.NDArray[np.float32]
    facts: dict[str, str]


def extract(job: Job, encoder: Encoder, batch_size: int, threads: int, cache: RowCache | None = None) -> Extraction:
    """Encode those inputs of ``job`` that ``cache`` does not know, and keep their rows there, chunk by chunk.

    The last batch of a shape is filled up: all batches of a shape are equally long. Then a row does not depend on which
    other inputs are encoded with it, nor on whether the step was interrupted.
    """
    known = {} if cache is None else cache.read(job.keys)
    missing = [position for position in range(len(job.keys)) if position not in known]
    label = LABELS[job.modality]
    log.info("features: encoding %d of %d %s, the others are known", len(missing), len(job.keys), label)
    source = encoder.source(job.modality, [job.values[position] for position in missing])
    order = [missing[row] for part in source.parts for row in part]
    ranges = list(_ranges([len(part) for part in source.parts], batch_size))
    prepared = batches(source, ranges, threads, encoder.device)
    size = max(1, CHUNK // batch_size)
    with progress(f"encode {label}", len(job.keys), label) as advance:
        advance(len(known))
        for first in range(0, len(ranges), size):
            chunk = ranges[first : first + size]
            rows, cut = [], []
            for start, stop in chunk:
                batch = next(prepared)
                rows.append(encoder.encode(job.modality, _filled(batch.inputs, batch_size))[: stop - start])
                cut.append(batch.truncated)
                advance(stop - start)
            positions = order[chunk[0][0] : chunk[-1][1]]
            x, truncated = torch.cat(rows).cpu().numpy(), np.concatenate(cut)
            if cache is not None:
                cache.add([job.keys[position] for position in positions], x, truncated)
            known |= {position: (x[row], bool(truncated[row])) for row, position in enumerate(positions)}
    # Without any input, the model tells the width, which costs a forward pass.
    found = [known[position][0] for position in range(len(job.keys))]
    x = np.stack(found) if found else np.zeros((0, encoder.width(job.modality)), dtype=np.float32)
    return Extraction(x, _facts(job, sum(cut for _, cut in known.values())))


def _filled(inputs: Tensor, batch_size: int) -> Tensor:
    """``inputs`` [batch, ...] with the last one repeated up to the size of a batch."""
    missing = batch_size - len(inputs)
    return torch.cat([inputs, inputs[-1:].expand(missing, *inputs.shape[1:])]) if missing else inputs


def _facts(job: Job, truncated: int) -> dict[str, str]:
    if job.modality != "text":
        return {}
    count = len(job.keys)
    log.info("features: %d of %d texts were longer than the context length of the model and were cut", truncated, count)
    return {"truncated_texts": f"{truncated / max(1, count):.4f}"}


def _ranges(parts: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Batches (start, stop) of at most ``size`` inputs, none of them over the end of one of the ``parts``."""
    end = 0
    for count in parts:
        start, end = end, end + count
        for first in range(start, end, size):
            yield first, min(first + size, end)
