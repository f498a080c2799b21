"""What turns texts and pictures of items into vectors, as one file: with it, nothing is fitted.

The file (encoder.safetensors) names the network that encodes pictures, and texts unless an analysis of texts does. It
holds the weights of a network that was trained on a shop's own pairs; published weights are named, with their digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.encoder_inputs import Distinct, EncoderInputs
from decorec.features.lsa import Lsa
from decorec.features.row_cache import RowCache, input_key

if TYPE_CHECKING:
    from decorec.features.encoders import Encoder
    from decorec.features.extract import Job

__all__ = ["ItemEncoder", "encode_items"]

Device = Literal["auto", "cpu", "cuda"]
NETWORK, ANALYSIS = "network.", "lsa."
"""Begin the names of the arrays of the two parts."""


def encode_items(
    encoder: Path, items: pl.DataFrame, *, device: Device = "auto", threads: int = 1, cache: Path | None = None
) -> dict[str, FeatureFile]:
    """Encode new items with the encoder of a file; nothing is fitted.

    The vectors have the bytes that the step features gives the same items with this encoder on the same processor.

    Args:
        encoder: encoder.safetensors, as the step features has written it (or a copy).
        items: one row per item; columns, all String: item (id), text (as the step ingest makes it, or null), picture
            (path of a picture as the crawl stores it, or null).
        device: auto: the GPU if there is one.
        threads: number of threads that prepare inputs and of threads of torch.
        cache: folder results/cache, where rows of earlier runs are found and these are kept; None: nothing is kept.

    Returns:
        ``text`` and ``image``: x [items, width] float32, not normalised; present [items] bool; the item ids.

    Raises:
        DecorecError: no such encoder, its weights are not those that it was made with, or a picture cannot be read.
    """
    pictures = items["picture"].to_list()
    paths = {path: _sha256(Path(path)) for path in pictures if path is not None}
    distinct = Distinct.of([None if path is None else paths[path] for path in pictures])
    stored = {sha256: Path(path) for path, sha256 in paths.items()}
    texts = Distinct.of([text if text and text.strip() else None for text in items["text"]])
    inputs = EncoderInputs(items["item"].to_list(), texts, distinct, [stored[value] for value in distinct.values])
    return ItemEncoder.read(encoder, device).encode(inputs, cache, threads)


def _sha256(picture: Path) -> str:
    try:
        with picture.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DecorecError(f"{picture}: expected a picture, found {error}; correct its path") from error


@dataclass(frozen=True)
class ItemEncoder:
    """An encoder of items. The vector of a text or a picture does not depend on what else is encoded with it.

    ``kind``: clip or fit. ``network``: encodes pictures, and texts without an ``analysis``; None: it knows texts alone.
    ``batch_size``: inputs per forward pass, on which the last digits depend. ``facts``: about the training of the
    network, for the metadata of features. ``origin``: the file that it was read from.
    """

    kind: str
    network: Encoder | None
    analysis: Lsa | None
    batch_size: int
    facts: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""

    @classmethod
    def make(cls, settings: FeaturesConfig, inputs: EncoderInputs, cache: Path, threads: int) -> ItemEncoder:
        """The encoder of the section features: published weights, or one that is fitted to ``inputs``.

        Raises:
            DecorecError: the weights cannot be fetched, or there are too few pairs of picture and text.
        """
        analysis = None
        if settings.texts == "lsa":
            analysis = Lsa.fit(inputs.texts.values, settings.text_width, settings.seed)
        if analysis is not None and not inputs.pictures.values:  # nothing that a network would be needed for
            return cls(settings.encoder, None, analysis, settings.batch_size)
        from decorec.features.encoders import load_encoder, pick_device, small_encoder

        device = pick_device(settings.device)
        if settings.encoder == "clip":
            network = load_encoder(settings.model, settings.weights, settings.precision, device)
            return cls(settings.encoder, network, analysis, settings.batch_size)
        from decorec.features.fitted_encoder import train_encoder

        with _torch_threads(1):
            state, name, facts = train_encoder(settings, inputs, cache, threads)
        network = small_encoder(state, name, settings.precision, device)
        return cls(settings.encoder, network, analysis, settings.batch_size, facts)

    @classmethod
    def read(cls, path: Path, device: Device) -> ItemEncoder:
        """Read a file written by :meth:`write`.

        Raises:
            DecorecError: it is no such file, or the weights that it names are not those that it was made with.
        """
        arrays, metadata = read_arrays(path)
        if not {"encoder", "batch_size", "facts"} <= metadata.keys():
            raise DecorecError(
                f"{path}: expected an encoder that the step features has written (results/DATASET/encoder.safetensors),"
                " found another file; correct features.encoder"
            )
        analysis = Lsa.of(_part(arrays, ANALYSIS), metadata["explained"]) if "explained" in metadata else None
        network = _network(path, metadata, _part(arrays, NETWORK), device) if "model" in metadata else None
        size, facts = int(metadata["batch_size"]), json.loads(metadata["facts"])
        return cls(metadata["encoder"], network, analysis, size, facts, str(path))

    def write(self, path: Path) -> None:
        """Write everything that the vectors depend on; equal encoders give equal bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        metadata = {
            "encoder": self.kind,
            "batch_size": str(self.batch_size),
            "facts": json.dumps(dict(self.facts), sort_keys=True),
        }
        if self.analysis is not None:
            arrays |= {ANALYSIS + name: array for name, array in self.analysis.arrays().items()}
            metadata["explained"] = self.analysis.explained
        if self.network is not None:
            about = self.network.metadata
            metadata |= {name: about[name] for name in ("model", "weights", "weights_sha256", "precision")}
            if self.kind == "fit":
                state = self.network.model.state_dict()
                arrays |= {NETWORK + name: tensor.cpu().numpy() for name, tensor in state.items()}
        write_arrays(path, arrays, metadata)

    def encode(self, inputs: EncoderInputs, cache: Path | None, threads: int) -> dict[str, FeatureFile]:
        """Features ``text`` and ``image`` of the items; equal inputs, and rows that ``cache`` knows, are encoded once.

        Raises:
            DecorecError: a picture is missing or damaged, or there are pictures and the encoder knows texts alone.
        """
        found: dict[str, FeatureFile] = {}
        if self.analysis is not None:
            x = self.analysis.encode(inputs.texts.values)
            found["text"] = _of_items(inputs, inputs.texts, x, {"encoder": "lsa", **self.analysis.facts})
        if self.network is None:
            self._expect_no_pictures(inputs)
            found["image"] = _of_items(inputs, inputs.pictures, np.zeros((0, 1), np.float32), {"encoder": "none"})
            return found
        from decorec.features.extract import extract

        metadata = {"encoder": self.kind, **self.network.metadata, **self.facts}
        rows = None if cache is None else RowCache(cache, self.network.metadata, self.batch_size)
        # With one thread the small model does not depend on the number of cores; most of its work is decoding anyway.
        with _torch_threads(1 if self.kind == "fit" else threads):
            for modality, (distinct, job) in self._jobs(inputs, self.network).items():
                result = extract(job, self.network, self.batch_size, threads, rows)
                found[modality] = _of_items(inputs, distinct, result.x, metadata | result.facts)
        return found

    def _jobs(self, inputs: EncoderInputs, network: Encoder) -> dict[str, tuple[Distinct, Job]]:
        """Modality -> what the network has to encode: the texts, if it does, then the pictures."""
        from decorec.features.decode import Pictures, Texts
        from decorec.features.extract import Job

        texts, paths = inputs.texts.values, inputs.picture_paths
        found: dict[str, tuple[Distinct, Job]] = {}
        if self.analysis is None:
            keys = [input_key("text", text) for text in texts]
            words = Job(
                "texts", keys, lambda rows: Texts([texts[row] for row in rows], network.tokenizer), network.encode_texts
            )
            found["text"] = inputs.texts, words
        keys = [input_key("picture", stored) for stored in inputs.stored_pictures]
        pictures = Job(
            "pictures",
            keys,
            lambda rows: Pictures([paths[row] for row in rows], network.geometry),
            network.encode_images,
        )
        return found | {"image": (inputs.pictures, pictures)}

    def _expect_no_pictures(self, inputs: EncoderInputs) -> None:
        if not inputs.pictures.values:
            return
        first = inputs.items[int(inputs.pictures.present.argmax())]
        raise DecorecError(
            f"{self.origin}: expected items without pictures, for which this encoder was made, found a picture of "
            f"{first!r}; set features.encoder to fit or clip once, and pin the encoder that comes of it"
        )


def _network(
    path: Path, metadata: Mapping[str, str], state: dict[str, npt.NDArray[np.float32]], device: Device
) -> Encoder:
    from decorec.features.encoders import load_encoder, pick_device, small_encoder

    precision: Any = metadata["precision"]
    if metadata["encoder"] == "fit":
        try:
            return small_encoder(state, metadata["weights"], precision, pick_device(device))
        except RuntimeError as error:
            raise DecorecError(
                f"{path}: expected weights of {metadata['model']}, found those of another version of it; set "
                "features.encoder to fit once, and pin the encoder that comes of it"
            ) from error
    network = load_encoder(metadata["model"], metadata["weights"], precision, pick_device(device))
    found, expected = network.metadata["weights_sha256"], metadata["weights_sha256"]
    if found != expected:
        raise DecorecError(
            f"{path}: expected the weights {metadata['weights']!r} of {metadata['model']} with the digest {expected}, "
            f"found other ones ({found}); get those back, or set features.encoder to clip, which encodes all items anew"
        )
    return network


def _part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _of_items(
    inputs: EncoderInputs, distinct: Distinct, x: npt.NDArray[np.float32], metadata: Mapping[str, str]
) -> FeatureFile:
    """A row for each item, from ``x`` [distinct, width]."""
    return FeatureFile(distinct.spread(x), distinct.present, inputs.items, metadata)


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
