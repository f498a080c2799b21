"""Step embedding-table: representations of the items in two dimensions, with and without interests (figure 6)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch.nn import functional

from decorec.artifacts import layout
from decorec.artifacts.files import read_arrays, write_csv
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.base import Recommender

__all__ = ["embedding_table", "flatten", "represent"]

AT_MOST = 1_000
"""Largest number of items drawn; of more items, a random sample with a fixed seed."""
PERPLEXITY = 30.0
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "run"), pl.String),
    **dict.fromkeys(("item", "interest", "size"), pl.Int64),
    **dict.fromkeys(("x", "y", "silhouette"), pl.Float64),
}
log = logging.getLogger("decorec")
Floats = npt.NDArray[np.float32]


@torch.no_grad()
def represent(model: Recommender) -> Floats:
    """Representations of all items (eq. 10), [I, M * D]: those of the modalities side by side, each of length 1."""
    unit = functional.normalize(model.eval().item_representations(), dim=-1)
    return unit.transpose(0, 1).flatten(1).cpu().numpy().astype(np.float32)


def flatten(x: Floats) -> npt.NDArray[np.float64]:
    """t-SNE of ``x`` [n, width] by cosine distance, [n, 2]; fixed seed, initialised with the principal components.

    Raises:
        DecorecError: fewer than four points.
    """
    from sklearn.manifold import TSNE

    if len(x) <= 3:
        raise DecorecError(
            f"embedding: expected at least 4 items, found {len(x)}; remove the run from tables.embedding"
        )
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=0, n_jobs=1).fit_transform(x)
    flat: npt.NDArray[np.float64] = found.astype(np.float64)
    return flat


def _silhouette(x: Floats, interest: npt.NDArray[np.int64]) -> float | None:
    """Mean silhouette of the items' interests by cosine distance; None if there are too few clusters."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(interest)) < len(interest):
        return None
    return float(silhouette_score(x, interest, metric="cosine"))


def _rows(dataset: str, run: str, model: Recommender, interest: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Columns of one run."""
    x = represent(model)
    silhouette = _silhouette(x, interest)
    drawn = np.sort(np.random.default_rng(0).choice(len(x), min(AT_MOST, len(x)), replace=False))
    place = flatten(x[drawn])
    log.info("embedding: %s of %s, %d items, silhouette %s", run, dataset, len(drawn), silhouette)
    return {
        "dataset": dataset,
        "run": run,
        "item": drawn,
        "interest": interest[drawn],
        "size": np.bincount(interest)[interest[drawn]],
        "x": place[:, 0],
        "y": place[:, 1],
        "silhouette": silhouette,
    }


def embedding_table(*, models: list[Path], interests: list[Path], csv: Path) -> None:
    """Place items in two dimensions by t-SNE of their representations.

    Args:
        models: DATASET/runs/RUN/seed-N/STAGE/model.safetensors (read), each with its config.json beside it.
        interests: DATASET/interests/MODALITY.safetensors (read), one per data set: the clusters that colour the items.
        csv: the table (written), one row per data set, run and item: dataset, run, item (index), interest (its
            cluster), size (number of items of that cluster), x and y (its place), silhouette (of the clusters over all
            items, by cosine distance in the representation itself; one value per run).

    Raises:
        DecorecError: a file is missing, or a model and the clusters have different items.
    """
    pattern = layout.INTERESTS.replace("{variant}", "")
    clusters = {layout.wildcards_of(file, pattern)["dataset"]: file for file in interests}
    frames = []
    for file in models:
        where = layout.place(file, layout.MODEL)
        if where.dataset not in clusters:
            raise DecorecError(f"--interests: expected {where.dataset}/interests/NAME.safetensors, found none; pass it")
        model = checkpoint.load(file, file.with_name("config.json")).model
        interest = read_arrays(clusters[where.dataset])[0]["assignment"]
        if len(interest) != model.item_data.item_count:
            raise DecorecError(
                f"{clusters[where.dataset]}: expected the interests of {model.item_data.item_count} items, found "
                f"{len(interest)}; run the steps cluster and train again"
            )
        frames.append(pl.DataFrame(_rows(where.dataset, where.run, model, interest), schema=SCHEMA))
    write_csv(csv, pl.concat(frames), 6)
    log.info("%s: %d runs", csv, len(frames))
