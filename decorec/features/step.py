"""Step features: encodes the texts and pictures of the items."""

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

    Equal pictures and equal texts are encoded once. An interrupted step continues after the chunks it has finished.

    Args:
        settings: the section features of the configuration.
        catalogue: items.parquet (read): item, text.
        images: images.parquet (read): an item's picture is its first row with status ok.
        cache: folder that is kept between runs (read and written): stored pictures, finished chunks, fitted encoders.
        text: text.safetensors (written): x [items, width] float32, not normalised, in the order of the catalogue;
            present [items], false for an item without text, whose row in x is zero; the item ids; and the encoder and
            its weights as metadata.
        image: image.safetensors (written): the same for pictures.
        threads: number of threads that prepare inputs and of threads of torch.

    Raises:
        DecorecError: the weights cannot be fetched, a picture is missing or damaged, or the inputs do not fit together.
    """
    from decorec.features.encoder_inputs import read_encoder_inputs
    from decorec.features.extract import extract

    inputs = read_encoder_inputs(catalogue, images, cache)
    # With one thread the small model does not depend on the number of cores; most of its work is decoding anyway.
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
    """The encoder, and facts about its training, if it was trained here."""
    from decorec.features.encoders import SMALL_CLIP, load_encoder, pick_device

    device = pick_device(features.device)
    if features.encoder == "clip":
        return load_encoder(features.model, features.weights, features.precision, device), {}
    from decorec.features.fitted_encoder import train_encoder

    weights, facts = train_encoder(features, inputs, threads)
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
            folder(inputs.stored_pictures),
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
