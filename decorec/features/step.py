"""Step features: encodes the texts and pictures of the items."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile

if TYPE_CHECKING:
    from decorec.features.encoder_inputs import Distinct, EncoderInputs
    from decorec.features.encoders import Encoder
    from decorec.features.extract import Job

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
    found: dict[str, Encoded] = {}
    if settings.texts == "lsa":
        from decorec.features.lsa import embed_texts

        x, facts = embed_texts(inputs.texts.values, settings.text_width, settings.seed)
        found["text"] = Encoded(inputs.texts, x, {"encoder": "lsa", **facts})
    folders: list[Path] = []
    if settings.texts == "lsa" and not inputs.pictures.values:  # nothing that an encoder would be needed for
        found["image"] = Encoded(inputs.pictures, np.zeros((0, 1), dtype=np.float32), {"encoder": "none"})
    else:
        # With one thread the small model does not depend on the number of cores; most of its work is decoding anyway.
        with _torch_threads(1 if settings.encoder == "fit" else threads):
            encoder, facts = _encoder(settings, inputs, threads)
            for modality, job in _jobs(settings, encoder, inputs).items():
                result = extract(job, encoder, settings.batch_size, threads)
                metadata = {"encoder": settings.encoder, **encoder.metadata, **facts, **result.facts}
                found[modality] = Encoded(job.distinct, result.x, metadata)
                folders.append(job.folder)
    for path, encoded in ((text, found["text"]), (image, found["image"])):
        encoded.write(path, inputs.items)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Encoded:
    """Features [distinct, width] of the distinct values of a modality, and facts about them."""

    distinct: Distinct
    x: npt.NDArray[np.float32]
    metadata: Mapping[str, str]

    def write(self, path: Path, items: list[str]) -> None:
        """Write a row for each of ``items``."""
        FeatureFile(self.distinct.spread(self.x), self.distinct.present, items, self.metadata).write(path)
        count = int(self.distinct.present.sum())
        log.info("features: %s: %d items, %d present, width %d", path.name, len(items), count, self.x.shape[1])


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


def _jobs(features: FeaturesConfig, encoder: Encoder, inputs: EncoderInputs) -> dict[str, Job]:
    """Modality -> what the encoder has to encode: the texts, if it does, then the pictures."""
    from decorec.features.decode import Pictures, Texts
    from decorec.features.extract import Job, chunk_folder

    def folder(values: list[str]) -> Path:
        return chunk_folder(inputs.cache, encoder.metadata, features.batch_size, values)

    found: dict[str, Job] = {}
    if features.texts == "encoder":
        texts = inputs.texts
        source = Texts(texts.values, encoder.tokenizer)
        found["text"] = Job("texts", texts, source, encoder.encode_texts, folder(texts.values))
    pictures = Pictures(inputs.picture_paths, encoder.geometry)
    place = folder(inputs.stored_pictures)
    found["image"] = Job("pictures", inputs.pictures, pictures, encoder.encode_images, place)
    return found


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
