"""What turns texts and pictures of items into vectors, as one file: with it, nothing is fitted.

The file (encoder.safetensors) says what encodes each modality. It holds an analysis of texts, and the weights of a
network that was trained on a shop's own pairs; published weights are named, with their digest, and so is a file of
vectors of one's own.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.config.features import FeaturesConfig
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.encoder_inputs import Distinct, EncoderInputs
from decorec.features.given import GivenVectors
from decorec.features.lsa import Lsa
from decorec.features.row_cache import RowCache, input_key
from decorec.processor import emulates

if TYPE_CHECKING:
    from decorec.features.encoder import Encoder, Modality

__all__ = ["ItemEncoder", "encode_items"]

log = logging.getLogger("decorec")
Device = Literal["auto", "cpu", "cuda"]
NETWORK, ANALYSIS = "network.", "lsa."
"""Begin the names of the arrays of a fitted network and of an analysis."""
ENSEMBLE = "ensemble"
"""The kind of several fitted networks."""
NAMED = ("model", "weights", "precision")
"""What of the metadata of published weights is needed to load them; digests are compared."""
REMEDY = "set features.encoder to fit or clip once, and pin the encoder that comes of it"
Arrays = dict[str, npt.NDArray[Any]]


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
        ``text`` and ``image``: x [items, width] float32; present [items] bool; the item ids.

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
class Run:
    """How the inputs are encoded: size of batches, on which the last digits depend, kept rows, and threads."""

    batch_size: int
    cache: Path | None
    threads: int


class Way(Protocol):
    """How the vectors of one modality come about."""

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        """A row for each item."""

    def saved(self) -> tuple[dict[str, str], Arrays]:
        """Everything that the vectors depend on, for :meth:`ItemEncoder.read`: text, with encoder, and arrays."""


@dataclass(frozen=True)
class Analysed:
    """Texts by an analysis of the shop's own."""

    analysis: Lsa

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        x = self.analysis.encode(inputs.texts.values)
        return _of_items(inputs, inputs.texts, x, {"encoder": "lsa", **self.analysis.facts})

    def saved(self) -> tuple[dict[str, str], Arrays]:
        arrays = {ANALYSIS + name: array for name, array in self.analysis.arrays().items()}
        return {"encoder": "lsa", "explained": self.analysis.explained}, arrays


@dataclass(frozen=True)
class Given:
    """Vectors of one's own."""

    vectors: GivenVectors

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        x, present = self.vectors.of(inputs.items)
        return FeatureFile(x, present, inputs.items, self.vectors.metadata)

    def saved(self) -> tuple[dict[str, str], Arrays]:
        return {"encoder": "given", "source": str(self.vectors.path), "width": str(self.vectors.x.shape[1])}, {}


@dataclass(frozen=True)
class Nothing:
    """No pictures; ``origin``: the file that the encoder was read from."""

    origin: str = ""

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        if inputs.pictures.values:
            first = inputs.items[int(inputs.pictures.present.argmax())]
            raise DecorecError(
                f"{self.origin}: expected items without pictures, for which this encoder was made, found a picture of "
                f"{first!r}; {REMEDY}"
            )
        return _of_items(inputs, inputs.pictures, np.zeros((0, 1), np.float32), {"encoder": "none"})

    def saved(self) -> tuple[dict[str, str], Arrays]:
        return {"encoder": "none"}, {}


@dataclass(frozen=True)
class Networked:
    """By a network. ``kind``: fit, or a name of the registry.

    ``state``, ``facts``: weights that were trained here, and what the metadata say about the training.
    """

    kind: str
    network: Encoder
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        precision = self.network.metadata["precision"]
        if self.network.device.type == "cpu" and emulates(precision):
            log.warning(
                "features: features.precision is %s, which this processor has no instructions for: slower than fp32; "
                "set it to fp32, or use another machine",
                precision,
            )

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        from decorec.features.extract import Job, extract

        if modality == "text":
            distinct, keys = inputs.texts, [input_key("text", text) for text in inputs.texts.values]
            job = Job(modality, inputs.texts.values, keys)
        else:
            distinct, keys = inputs.pictures, [input_key("picture", stored) for stored in inputs.stored_pictures]
            job = Job(modality, inputs.picture_paths, keys)
        rows = None if run.cache is None else RowCache(run.cache, self.network.metadata, run.batch_size)
        # With one thread the small model does not depend on the number of cores; most of its work is decoding anyway.
        with _torch_threads(1 if self.kind == "fit" else run.threads):
            result = extract(job, self.network, run.batch_size, run.threads, rows)
        metadata = {"encoder": self.kind, **self.network.metadata, **self.facts, **result.facts}
        return _of_items(inputs, distinct, result.x, metadata)

    def saved(self) -> tuple[dict[str, str], Arrays]:
        about = {key: value for key, value in self.network.metadata.items() if key in NAMED or key.endswith("_sha256")}
        facts = {"facts": json.dumps(dict(self.facts), sort_keys=True)} if self.facts else {}
        arrays = {NETWORK + name: array for name, array in self.state.items()}
        return {"encoder": self.kind, **about, **facts}, arrays


@dataclass(frozen=True)
class Ensemble:
    """By several networks that were fitted with different seeds. Their vectors stand side by side, each of length 1.

    The length of what a fitted network gives says nothing, so that without this the one with the longest vectors would
    count most.
    """

    networks: tuple[Networked, ...]

    def encode(self, modality: Modality, inputs: EncoderInputs, run: Run) -> FeatureFile:
        files = [network.encode(modality, inputs, run).of_length(1.0) for network in self.networks]
        metadata = {
            key: ", ".join(dict.fromkeys(file.metadata[key] for file in files)) for key in sorted(files[0].metadata)
        }
        return replace(files[0], x=np.concatenate([file.x for file in files], axis=1), metadata=metadata)

    def saved(self) -> tuple[dict[str, str], Arrays]:
        descriptions: list[dict[str, str]] = []
        arrays: Arrays = {}
        for place, network in enumerate(self.networks):
            about, own = network.saved()
            descriptions.append(about)
            arrays |= {f"{place}.{name}": array for name, array in own.items()}
        return {"encoder": ENSEMBLE, "networks": json.dumps(descriptions, sort_keys=True)}, arrays


@dataclass(frozen=True)
class ItemEncoder:
    """An encoder of items. The vector of a text or a picture does not depend on what else is encoded with it.

    ``ways``: of text and image. ``lengths``: what their vectors are scaled to; None: as they come. ``batch_size``:
    inputs per forward pass, on which the last digits depend.
    """

    ways: Mapping[Modality, Way]
    lengths: Mapping[Modality, float | None]
    batch_size: int

    @classmethod
    def make(cls, settings: FeaturesConfig, inputs: EncoderInputs, cache: Path, threads: int) -> ItemEncoder:
        """The encoder of the section features: published weights, one that is fitted to ``inputs``, or given vectors.

        Raises:
            DecorecError: the weights cannot be fetched, there are too few pairs of picture and text, or a file of
                vectors cannot be used.
        """
        made: dict[str, Way] = {}
        networks = set(settings.ways.values()) - {"lsa"}
        if settings.ways["text"] != settings.ways["image"] and not inputs.pictures.values:
            networks.discard(settings.ways["image"])  # nothing that a network of pictures would be needed for
            made[settings.ways["image"]] = Nothing()
        for modality, way in settings.ways.items():
            path = settings.vectors(modality)
            if path is not None:
                made[way] = Given(GivenVectors.read(path))
        if "lsa" in settings.ways.values():
            made["lsa"] = Analysed(Lsa.fit(inputs.texts.values, settings.text_width, settings.seed))
        for kind in sorted(networks - made.keys()):
            made[kind] = _made(kind, settings, inputs, cache, threads)
        ways = {modality: made[way] for modality, way in settings.ways.items()}
        return cls(ways, settings.lengths, settings.batch_size)

    @classmethod
    def read(cls, path: Path, device: Device) -> ItemEncoder:
        """Read a file written by :meth:`write`.

        Raises:
            DecorecError: it is no such file, or the weights that it names are not those that it was made with.
        """
        arrays, metadata = read_arrays(path)
        if not {"text", "image", "lengths", "batch_size"} <= metadata.keys():
            raise DecorecError(
                f"{path}: expected an encoder that the step features has written (results/DATASET/encoder.safetensors),"
                f" found another file; correct features.encoder, or {REMEDY}"
            )
        read: dict[str, Way] = {}
        for about in (metadata["text"], metadata["image"]):
            if about not in read:
                read[about] = _read(path, json.loads(about), arrays, device)
        ways: dict[Modality, Way] = {"text": read[metadata["text"]], "image": read[metadata["image"]]}
        return cls(ways, json.loads(metadata["lengths"]), int(metadata["batch_size"]))

    def write(self, path: Path) -> None:
        """Write everything that the vectors depend on; equal encoders give equal bytes."""
        arrays: Arrays = {}
        metadata = {"batch_size": str(self.batch_size), "lengths": json.dumps(self.lengths)}
        for modality, way in self.ways.items():
            about, own = way.saved()
            metadata[modality] = json.dumps(about, sort_keys=True)
            arrays |= own
        write_arrays(path, arrays, metadata)

    def encode(self, inputs: EncoderInputs, cache: Path | None, threads: int) -> dict[str, FeatureFile]:
        """Features ``text`` and ``image`` of the items; equal inputs, and rows that ``cache`` knows, are encoded once.

        Raises:
            DecorecError: a picture is missing or damaged, or there are pictures and the encoder knows texts alone.
        """
        run = Run(self.batch_size, cache, threads)
        found: dict[str, FeatureFile] = {}
        for modality, way in self.ways.items():
            file, length = way.encode(modality, inputs, run), self.lengths[modality]
            found[modality] = file if length is None else file.of_length(length)
        return found


def _made(kind: str, settings: FeaturesConfig, inputs: EncoderInputs, cache: Path, threads: int) -> Way:
    """The network, or the networks, of the section features that is called ``kind``."""
    from decorec import gpus

    device = gpus.device(settings.device)
    if kind != "fit":
        from decorec.features.registry import KINDS

        named = [str(getattr(settings, key)) for key in KINDS[kind].keys]
        model, weights = (*named, "")[:2]
        return Networked(kind, KINDS[kind].loader()(model, weights, settings.precision, device))
    from decorec.features.clip import small_clip
    from decorec.features.fitted_encoder import train_encoder

    networks = []
    for seed in range(settings.seed, settings.seed + settings.ensemble):
        with _torch_threads(1):
            state, name, facts = train_encoder(settings.model_copy(update={"seed": seed}), inputs, cache, threads)
        networks.append(Networked(kind, small_clip(state, name, settings.precision, device), state, facts))
    return networks[0] if len(networks) == 1 else Ensemble(tuple(networks))


def _read(path: Path, about: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]], device: Device) -> Way:
    """What ``saved`` has described."""
    kind = about["encoder"]
    if kind == "none":
        return Nothing(str(path))
    if kind == "lsa":
        return Analysed(Lsa.of(_part(arrays, ANALYSIS), about["explained"]))
    if kind == "given":
        vectors = GivenVectors.read(Path(about["source"]))
        if str(vectors.x.shape[1]) != about["width"]:
            raise DecorecError(
                f"{vectors.path}: expected vectors of width {about['width']}, with which {path} was made, found "
                f"{vectors.x.shape[1]}; get those back, or {REMEDY}"
            )
        return Given(vectors)
    if kind == ENSEMBLE:
        parts = enumerate(json.loads(about["networks"]))
        return Ensemble(tuple(_network(path, one, _part(arrays, f"{place}."), device) for place, one in parts))
    return _network(path, about, arrays, device)


def _network(path: Path, about: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]], device: Device) -> Networked:
    from decorec import gpus

    kind = about["encoder"]
    precision: Any = about["precision"]
    if kind == "fit":
        from decorec.features.clip import small_clip

        state = _part(arrays, NETWORK)
        try:
            network = small_clip(state, about["weights"], precision, gpus.device(device))
        except RuntimeError as error:
            raise DecorecError(
                f"{path}: expected weights of {about['model']}, found those of another version of it; {REMEDY}"
            ) from error
        return Networked(kind, network, state, json.loads(about["facts"]))
    return Networked(kind, _loaded(path, about, device))


def _loaded(path: Path, about: Mapping[str, str], device: Device) -> Encoder:
    """The network with published weights that a file names, if they are still the same."""
    from decorec import gpus
    from decorec.features.registry import KINDS

    precision: Any = about["precision"]
    load = KINDS[about["encoder"]].loader()
    found = load(about["model"], about["weights"], precision, gpus.device(device))
    for key in sorted(key for key in about if key.endswith("_sha256")):
        digest = found.metadata.get(key)
        if digest != about[key]:
            raise DecorecError(
                f"{path}: expected the {key.removesuffix('_sha256')} {about['weights']!r} of {about['model']} with the "
                f"digest {about[key]}, found other ones ({digest}); get those back, or {REMEDY}, which encodes all "
                "items anew"
            )
    return found


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
