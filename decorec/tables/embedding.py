"""Step embedding_table: representations of the items in two dimensions, with and without interests (figure 6)."""

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
from decorec.artifacts.files import read_arrays, write_text
from decorec.errors import DecorecError
from decorec.models import checkpoint
from decorec.models.base import Recommender

__all__ = ["embedding_table", "flatten", "represent"]

AT_MOST = 1_000
"""Items drawn; of more, so many at random with a fixed seed."""
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
    """t-SNE of ``x`` [n, width] by cosine distance, [n, 2]: fixed seed, start from the principal components.

    Raises:
        DecorecError: fewer than four points.
    """
    from sklearn.manifold import TSNE

    if len(x) <= 3:
        raise DecorecError(
            f"embedding: expected at least 4 items, found {len(x)}; take the run out of tables.embedding"
        )
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=0, n_jobs=1).fit_transform(x)
    flat: npt.NDArray[np.float64] = found.astype(np.float64)
    return flat


def _silhouette(x: Floats, interest: npt.NDArray[np.int64]) -> float | None:
    """Mean silhouette of the items' interests by cosine distance; None where there are too few of them."""
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
    """Write one row per data set, run and item: its place (x, y) in two dimensions by t-SNE.

    interest: cluster of the item; size: items of that cluster; silhouette: of the clusters over all items in the
    representation itself, by cosine distance, one figure per run.

    models: DATASET/runs/RUN/seed-N/STAGE/model.safetensors. interests: DATASET/interests/NAME.safetensors, the clusters
    that items are coloured by.

    Raises:
        DecorecError: a file is missing, or clusters and model have other items.
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
                f"{len(interest)}; run the steps cluster and stage2 again"
            )
        frames.append(pl.DataFrame(_rows(where.dataset, where.run, model, interest), schema=SCHEMA))
    write_text(csv, pl.concat(frames).write_csv(float_precision=6))
    log.info("%s: %d runs", csv, len(frames))
