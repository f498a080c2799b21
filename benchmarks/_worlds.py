"""Data sets for the benchmarks: generated ones of a given size, and the paper's Scientific set."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks._shopping import purchases
from decorec.acquire.sample.dirt import LOST, Dirt
from decorec.acquire.sample.products import Products
from decorec.acquire.sample.records import meta_lines
from decorec.acquire.sample.shop import draw_shop
from decorec.acquire.sources.metadata import item_row
from decorec.config.datasets import AtomicDataset, SampleDataset
from decorec.config.features import FeaturesConfig
from decorec.config.prepare import GraphConfig
from decorec.config.runs import resolve
from decorec.data.filtering import Filtered
from decorec.data.graph import normalise
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.features.atomic import atomic_features
from decorec.features.lsa import Lsa
from decorec.models.inputs import ModelInputs
from decorec.models.item_data import ItemData
from decorec.prepare.atomic import atomic
from decorec.prepare.cooccurrence import count_pairs

__all__ = ["SCIENTIFIC", "World", "describe_machine", "drawn", "generated", "prepared", "scientific"]

SCIENTIFIC = Path("data/scientific")
MODALITIES = ("text", "image")


@dataclass(frozen=True)
class World:
    """Sequences and what is known of the items."""

    name: str
    sequences: Sequences
    item_data: ItemData


def scientific(folder: Path = SCIENTIFIC) -> World:
    """The paper's Industrial and Scientific set from its atomic files."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        dataset = AtomicDataset(source="atomic", path=str(folder), name="Scientific")
        files = {name: out / name for name in ("catalogue", "vocab", "sequences", "statistics")}
        atomic(dataset=dataset, **files)
        names = read_vocab(files["vocab"])
        features = {}
        for modality in MODALITIES:
            file = out / f"{modality}.safetensors"
            atomic_features(dataset=dataset, modality=modality, features=file)
            features[modality] = torch.from_numpy(FeatureFile.read(file).aligned(names)[0].copy())
        sequences = Sequences.read(files["sequences"])
    return World("Scientific", sequences, _item_data(sequences, len(names), features, graph=True))


def prepared(folder: Path) -> World:
    """A data set that the workflow has prepared: its sequences, features and graph under results/DATASET."""
    items, sequences = read_vocab(folder / "vocab.parquet"), Sequences.read(folder / "sequences.parquet")
    features = {name: folder / "features" / f"{name}.safetensors" for name in MODALITIES}
    inputs = ModelInputs(features=features, cooccurrence=folder / "graph" / "cooccurrence.npz")
    hybrid = resolve({}, "described", {"model": {"name": "hybrid-knn"}})  # it needs all of them
    return World(folder.name, sequences, inputs.item_data(hybrid, "fit", items))


def drawn(dataset: SampleDataset) -> World:
    """The sequences of a sample shop as the workflow prepares it, and features of texts alone: no file, no picture."""
    products, purchases, dirt = draw_shop(dataset)
    lost = np.zeros(len(products), dtype=bool)
    for defect in LOST:
        lost[list(dirt[defect])] = True
    filtered = Filtered.start(purchases.user, purchases.item)
    rows = np.stack([purchases.user, purchases.item, purchases.day, purchases.overall])
    twice = np.ones(len(purchases.user), dtype=bool)
    twice[np.unique(rows, axis=1, return_index=True)[1]] = False
    filtered.drop(twice, "duplicates", "duplicate")
    filtered.keep(~lost, "items with a picture", "item without picture")
    filtered.core(5, "")
    user, item, day, _ = rows[:, filtered.left]
    # Reviews lie in the file product by product, so this is the order of purchases of one day.
    order = np.lexsort([item, day, user])
    known, items = np.unique(item[order], return_inverse=True)
    lengths = np.unique(user, return_counts=True)[1]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sequences = Sequences([""] * len(lengths), offsets, items.astype(np.int32), day[order] * 86_400)
    texts = _texts(products, known, dirt, dataset.seed)
    text = Lsa.fit(texts, FeaturesConfig().text_width, seed=0).encode(texts)
    features = {"text": torch.from_numpy(text), "image": torch.zeros(len(known), 1)}
    return World("drawn", sequences, _item_data(sequences, len(known), features, graph=True))


def _texts(products: Products, known: npt.NDArray[np.int64], dirt: Dirt, seed: int) -> list[str]:
    """The text of each of the products ``known``."""
    found: dict[str, str] = {}
    for line in meta_lines(products, dirt, np.random.default_rng(seed)):
        with suppress(json.JSONDecodeError):
            record = json.loads(line)
            raw = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
            found.setdefault(record["asin"], item_row({**raw, "item": record["asin"]}, Counter())["text"])
    return [found[products.asin[item]] for item in known]


def generated(
    name: str, items: int, users: int, mean: float, modalities: tuple[str, ...] = MODALITIES, graph: bool = True
) -> World:
    """Sequences of at least 5 items, ``mean`` on average.

    Lengths, tastes and popularity are such that as many items and users as Scientific has give a graph like its own:
    72,762 ordered pairs of positions and 61,044 non-zeros, where the real sequences have 74,418 and 61,418.
    """
    random = np.random.default_rng(0)
    lengths = 5 + random.negative_binomial(0.5, 0.5 / (mean - 4.5), users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sequences = Sequences([""] * users, offsets, purchases(lengths, items, 50, 0.5, 2.2, random))
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.empty(items, 512).normal_(0, 0.4, generator=generator) for name in modalities}
    return World(name, sequences, _item_data(sequences, items, features, graph))


def _item_data(sequences: Sequences, items: int, features: dict[str, Tensor], graph: bool) -> ItemData:
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Any] = {f"features.{name}": x for name, x in features.items()}
    for name in features:
        tensors[f"interests.{name}"] = torch.randint(max(1, items // 10), (items,), generator=generator)
    if graph:
        matrix = normalise(count_pairs(sequences.training(), items, GraphConfig()), "symmetric")
        tensors["graph.crow"] = torch.from_numpy(matrix.indptr.astype(np.int32))
        tensors["graph.col"] = torch.from_numpy(matrix.indices.astype(np.int32))
        tensors["graph.values"] = torch.from_numpy(matrix.data.astype(np.float32))
    return ItemData(items, tensors)


def describe_machine() -> str:
    """Processor, threads and versions in one line."""
    processor = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines()]
        names = [line for line in lines if "@" in line or "EPYC" in line or "Xeon" in line or "Core" in line]
        processor = names[0] if names else processor
    capability = torch.backends.cpu.get_cpu_capability()
    amx = "with" if torch.cpu._is_amx_tile_supported() else "without"
    return f"{processor} ({capability}, {amx} AMX), {torch.get_num_threads()} threads, torch {torch.__version__}"
