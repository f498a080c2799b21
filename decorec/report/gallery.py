"""Step gallery: collects recommendations of trained models to some users, with pictures."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from decorec.artifacts import layout
from decorec.artifacts.files import by_stem, read_arrays, read_table, write_json
from decorec.artifacts.schemas.ranks import HISTORIES
from decorec.data.sequences import Sequences, read_vocab
from decorec.evaluation.full_ranking import Scores, score_users, scored_ranks
from decorec.evaluation.modality_modes import modes_of
from decorec.evaluation.top_lists import TopLists
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.decorec import DeCoRec

__all__ = ["gallery"]

TOP = 10
HISTORY = 12
"""Number of latest items of the history that are shown."""
SIDE = 96
"""Longer side of a picture, in pixels."""
QUALITY = 70
log = logging.getLogger("decorec")


def choose(data: Sequences, count: int) -> Sequences:
    """``count`` users drawn at random with a fixed seed, independent of the models."""
    drawn = np.random.default_rng(0).choice(len(data.users), min(count, len(data.users)), replace=False)
    return data.of(np.sort(drawn))


def _scored(model: Recommender, data: Sequences) -> tuple[Scores, Tensor]:
    """Scores of all items, each [U, I], and targets [U] of the users' test items."""
    scores: Scores = {history: torch.empty(len(data.users), model.item_data.item_count) for history in HISTORIES}
    targets = torch.empty(len(data.users), dtype=torch.int64)
    for chosen, found, wanted in score_users(model, data, "test"):
        targets[torch.as_tensor(chosen)] = wanted
        for history, part in found.items():
            scores[history][torch.as_tensor(chosen)] = part.float()
    return scores, targets


def _recommended(model: Recommender, data: Sequences) -> list[dict[str, Any]]:
    """For each user the mean ranks of the true next item, and the first items with full scores and by modality.

    Both with the history kept and masked: then the items of the user's history are not among the first.
    """
    scores, targets = _scored(model, data)
    parts: dict[str, Tensor] = {}
    if isinstance(model, DeCoRec):
        single = [(name, mode) for name, mode in modes_of(model).items() if name in model.adapters]
        parts = {name: _scored(mode, data)[0]["kept"] for name, mode in single}
    places = scored_ranks(data, "test", np.arange(len(data.users)), scores, targets)
    rank = {history: found.mean_rank() for history, found in places.items()}
    first = TopLists(data, "test", model.item_data.item_count)
    first.add(np.arange(len(data.users)), scores)
    return [
        {
            "rank": {history: float(found[user]) for history, found in rank.items()},
            "top": {
                history: [
                    {
                        "item": item,
                        "score": float(scores[history][user, item]),
                        "parts": {name: float(part[user, item]) for name, part in parts.items()},
                    }
                    for item in lists[user, :TOP].tolist()
                    if item >= 0
                ]
                for history, lists in first.lists.items()
            },
        }
        for user in range(len(data.users))
    ]


def _thumbnail(file: Path) -> str | None:
    """A small picture as a data URI; None if it is not stored."""
    from PIL import Image

    if not file.is_file():
        return None
    with Image.open(file) as picture:
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        body = io.BytesIO()
        small.save(body, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(body.getvalue()).decode()


def _described(
    shown: Sequence[int],
    names: Sequence[str],
    catalogue: Path,
    images: Path | None,
    cache: Path,
    interests: dict[str, npt.NDArray[np.int64]],
) -> dict[str, Any]:
    """Title, clusters and picture of each item shown, by its index."""
    wanted = [names[item] for item in shown]
    table = read_table(catalogue, {"item": pl.String, "text": pl.String}).filter(pl.col("item").is_in(wanted))
    title = pl.coalesce("title", "text") if "title" in table.columns else pl.col("text")
    titles = dict(table.select("item", title.alias("title")).iter_rows())
    pictures: dict[str, str] = {}
    if images is not None:
        fetched = read_table(images, {"item": pl.String, "status": pl.String, "sha256": pl.String})
        fetched = fetched.filter((pl.col("status") == "ok") & pl.col("item").is_in(wanted))
        pictures = dict(fetched.unique("item", keep="first").select("item", "sha256").iter_rows())
    return {
        str(item): {
            "title": titles.get(names[item]) or names[item],
            "clusters": {modality: int(assignment[item]) for modality, assignment in interests.items()},
            "picture": _thumbnail(layout.picture_path(cache, pictures[names[item]]))
            if names[item] in pictures
            else None,
        }
        for item in shown
    }


def gallery(
    *,
    vocab: Path,
    sequences: Path,
    catalogue: Path,
    images: Path | None = None,
    cache: Path,
    interests: list[Path],
    models: list[Path],
    users: int,
    output: Path,
) -> None:
    """Collect the recommendations of trained models to some users of a data set.

    The users are drawn at random with a fixed seed, so that they cannot be chosen by their results.

    Args:
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        catalogue: items.parquet (read): item, title.
        images: images.parquet (read); none for data sets without pictures.
        cache: folder that is kept between runs (read): stored pictures.
        interests: MODALITY.safetensors (read): the clusters of the items in each modality.
        models: runs/RUN/seed-N/STAGE/model.safetensors (read), each with its config.json beside it.
        users: number of users.
        output: gallery.json (written): users (history, target, and for each run the rank of the target, with the
            history kept and masked, and the first ten of all items with scores, likewise) and items (title, clusters,
            small picture).

    Raises:
        DecorecError: a file is missing or damaged, or a model has other items than the vocabulary.
    """
    torch.set_num_threads(1)
    names = read_vocab(vocab)
    data = choose(Sequences.read(sequences).having("test"), users)
    found: dict[str, list[dict[str, Any]]] = {}
    for file in models:
        trained = checkpoint.load_for(vocab, file, file.with_name("config.json"))
        found[layout.place(file, layout.MODEL).run] = _recommended(trained.model, data)
    people = []
    for user, (begin, place) in enumerate(zip(data.offsets[:-1], data.places("test"), strict=True)):
        *history, target = data.items[begin : place + 1].tolist()
        runs = {run: recommended[user] for run, recommended in found.items()}
        people.append({"history": history[-HISTORY:], "length": len(history), "target": target, "runs": runs})
    shown = {item for person in people for item in (*person["history"], person["target"])}
    shown |= {
        entry["item"]
        for person in people
        for run in person["runs"].values()
        for entries in run["top"].values()
        for entry in entries
    }
    clusters = {modality: read_arrays(file)[0]["assignment"] for modality, file in by_stem(interests).items()}
    described = _described(sorted(shown), names, catalogue, images, cache, clusters)
    write_json(output, {"users": people, "items": described})
    log.info("gallery: %d users, %d items, %d runs", len(people), len(described), len(found))
