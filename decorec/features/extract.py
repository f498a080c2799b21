"""Features of many pictures or texts, computed in chunks; finished chunks are kept, also after a kill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decorec.features.decode import Source, batches
from decorec.features.encoders import Encoder
from decorec.features.row_cache import RowCache
from decorec.progress import progress

__all__ = ["Extraction", "Job", "extract"]

log = logging.getLogger("decorec")
CHUNK = 2_048


@dataclass(frozen=True)
class Job:
    """The distinct inputs of one modality: their keys, how to prepare those at some positions, how to encode them."""

    label: str
    keys: Sequence[bytes]
    source: Callable[[Sequence[int]], Source]
    encode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extraction:
    """Features [distinct, width] float32, and facts for the metadata of the file."""

    x: npt.NDArray[np.float32]
    facts: dict[str, str]


def extract(job: Job, encoder: Encoder, batch_size: int, threads: int, cache: RowCache | None = None) -> Extraction:
    """Encode those inputs of ``job`` that ``cache`` does not know, and keep their rows there, chunk by chunk.

    The last batch is filled up: all batches have one shape. Then a row does not depend on which other inputs are
    encoded with it, nor on whether the step was interrupted.
    """
    known = {} if cache is None else cache.read(job.keys)
    missing = [position for position in range(len(job.keys)) if position not in known]
    log.info("features: encoding %d of %d %s, the others are known", len(missing), len(job.keys), job.label)
    chunks = list(_ranges(0, len(missing), max(1, CHUNK // batch_size) * batch_size))
    ranges = [part for chunk in chunks for part in _ranges(*chunk, batch_size)]
    prepared = batches(job.source(missing), ranges, threads, encoder.device)
    with progress(f"encode {job.label}", len(job.keys), job.label) as advance:
        advance(len(known))
        for chunk in chunks:
            rows, cut = [], []
            for start, stop in _ranges(*chunk, batch_size):
                batch = next(prepared)
                rows.append(job.encode(_filled(batch.inputs, batch_size))[: stop - start])
                cut.append(batch.truncated)
                advance(stop - start)
            positions = missing[slice(*chunk)]
            x, truncated = torch.cat(rows).cpu().numpy(), np.concatenate(cut)
            if cache is not None:
                cache.add([job.keys[position] for position in positions], x, truncated)
            known |= {position: (x[row], bool(truncated[row])) for row, position in enumerate(positions)}
    # Without any input, the model tells the width, which costs a forward pass.
    found = [known[position][0] for position in range(len(job.keys))]
    x = np.stack(found) if found else np.zeros((0, encoder.width), dtype=np.float32)
    return Extraction(x, _facts(job, sum(cut for _, cut in known.values())))


def _filled(inputs: Tensor, batch_size: int) -> Tensor:
    """``inputs`` [batch, ...] with the last one repeated up to the size of a batch."""
    missing = batch_size - len(inputs)
    return torch.cat([inputs, inputs[-1:].expand(missing, *inputs.shape[1:])]) if missing else inputs


def _facts(job: Job, truncated: int) -> dict[str, str]:
    if job.label != "texts":
        return {}
    count = len(job.keys)
    log.info("features: %d of %d texts were longer than the context length of the model and were cut", truncated, count)
    return {"truncated_texts": f"{truncated / max(1, count):.4f}"}


def _ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, size):
        yield first, min(first + size, stop)
