"""Features of pictures and texts: the encoder, its weights, and the resumable extraction."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile

if TYPE_CHECKING:
    from decorec.features.encoder_inputs import EncoderInputs
    from decorec.features.encoders import Encoder
    from decorec.features.extract import Extraction, Job

__all__ = ["features"]

log = logging.getLogger("decorec")


def features(
    *,
    settings: FeaturesConfig,
    catalogue: Path,
    images: Path,
    cache: Path,
    text: Path,
    image: Path,
    threads: int = 1,
) -> None:
    """Encode the texts and pictures of all items.

    Reads items.parquet (``item``, ``text``), images.parquet (the first row with status ok is an item's picture) and
    the stored pictures under ``cache``. Writes one row per item, in the order of ``catalogue``, to ``text`` and
    ``image``: float32, not normalised; an item without text or picture has present = false and a row of zeros.
    Distinct pictures and texts are encoded once. An interrupted step continues from the chunks it has finished.

    Raises:
        DecorecError: weights that cannot be fetched, a missing or damaged picture, inputs that do not fit.
    """
    from decorec.features.encoder_inputs import read_encoder_inputs
    from decorec.features.extract import extract

    inputs = read_encoder_inputs(catalogue, images, cache)
    # One thread makes the small model the same whatever the number of cores; decoding is the larger part of its work.
    with _torch_threads(1 if settings.encoder == "fit" else threads):
        encoder, facts = _encoder(settings, inputs, threads)
        jobs = _jobs(settings, encoder, inputs)
        results = [extract(job, encoder, settings.batch_size, threads) for job in jobs]
    for path, job, result in zip((text, image), jobs, results, strict=True):
        _write(path, job, result, inputs, {"encoder": settings.encoder, **encoder.metadata, **facts})
    for job in jobs:
        shutil.rmtree(job.folder, ignore_errors=True)


def _write(path: Path, job: Job, result: Extraction, inputs: EncoderInputs, metadata: dict[str, str]) -> None:
    x, present = job.distinct.spread(result.x), job.distinct.present
    FeatureFile(x, present, inputs.items, {**metadata, **result.facts}).write(path)
    log.info("features: %s: %d items, %d present, width %d", path.name, len(x), present.sum(), x.shape[1])


def _encoder(features: FeaturesConfig, inputs: EncoderInputs, threads: int) -> tuple[Encoder, dict[str, str]]:
    """The encoder, and what its training found out."""
    from decorec.features.encoders import SMALL_CLIP, load_encoder, pick_device

    device = pick_device(features.device)
    if features.encoder == "clip":
        return load_encoder(features.model, features.weights, features.precision, device), {}
    from decorec.features.fitted_encoder import fit_encoder

    weights, facts = fit_encoder(features, inputs, threads)
    encoder = load_encoder(SMALL_CLIP.stem, str(weights), features.precision, device)
    return encoder, {"weights": f"fit:{weights.stem}", **facts}


def _jobs(features: FeaturesConfig, encoder: Encoder, inputs: EncoderInputs) -> list[Job]:
    """What to extract: the texts, then the pictures."""
    from decorec.features.decode import Pictures, Texts
    from decorec.features.extract import Job, chunk_folder

    def folder(values: list[str]) -> Path:
        return chunk_folder(inputs.cache, encoder.metadata, features.batch_size, values)

    texts, pictures = inputs.texts, inputs.pictures
    return [
        Job("texts", texts, Texts(texts.values, encoder.tokenizer), encoder.encode_texts, folder(texts.values)),
        Job(
            "pictures",
            pictures,
            Pictures(inputs.picture_paths, encoder.geometry),
            encoder.encode_images,
            folder(pictures.values),
        ),
    ]


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Let torch use ``threads`` threads inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
