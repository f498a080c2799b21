"""New items for a trained run, without training: what is known of them, and how high they stand in the lists."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from decorec.artifacts.files import read_arrays, read_table, write_arrays
from decorec.data.batches import profiles
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import items_until, masked_items, score_windows
from decorec.models.added_items import AddedItems, WithAddedItems
from decorec.models.checkpoint import Checkpoint
from decorec.models.floors import side_by_side

__all__ = [
    "ADDED",
    "DESCRIBED",
    "DESCRIPTIONS",
    "UNPICTURED",
    "read_added",
    "read_descriptions",
    "with_new_items",
    "write_added",
]

ADDED = "added.safetensors"
"""What is known of the new items, beside the weights of the model that they are added to: the tensors of ``AddedItems``
and the ids (``items``, utf-8, newline-joined); the metadata name the digest of the weights."""
DESCRIBED = "added.parquet"
"""What people know the new items by, beside it."""
UNPICTURED = "without-picture.csv"
"""Which new items have no usable picture, and why; beside it, for people."""
DESCRIPTIONS: dict[str, Any] = {
    "item": pl.String,
    "title": pl.String,
    "text": pl.String,
    "categories": pl.List(pl.String),
    "sha256": pl.String,
}
"""Columns of added.parquet: as in items.parquet, and the checksum that the picture is stored by (null: it has none)."""
FORM: Final = "whitened"
"""Of the features, as content-kNN has them by default."""
PLACES = 10
"""Places at the head of a list whose share of new items is fitted."""
CUSTOMERS = 1_000
"""Customers that it is fitted to."""


def with_new_items(
    trained: Checkpoint,
    new: Sequence[str],
    features: Sequence[npt.NDArray[np.float32]],
    histories: Sequences,
    exposure: float = 1.0,
) -> Checkpoint:
    """A trained run that also ranks new items.

    Args:
        trained: the run; the order of its items among each other does not change.
        new: ids of N items that it does not know.
        features: of each modality, [I + N, F]: rows of its own items, then of the new ones.
        histories: what customers bought, of its own items; at least one of them has an item.
        exposure: how many new items stand in the first ten places of these customers' lists, on average, divided by
            the share that new items have of all items. With 1 a new item is there as often as another one.

    Raises:
        DecorecError: there is no new item, one is known, or stands twice, or nobody has a history.
    """
    known = set(trained.items)
    again = next((item for item in new if item in known), None)
    if again is not None or len(set(new)) < len(new) or not new:
        found = f"{again!r}, which the model knows" if again is not None else "one twice" if new else "none"
        raise DecorecError(f"new items: expected items that the model does not know, each once, found {found}; correct")
    if not histories.lengths.any():
        raise DecorecError("new items: expected customers who bought items of the model, found none; give others")
    rows = side_by_side([torch.from_numpy(np.ascontiguousarray(x)) for x in features], FORM)
    model = WithAddedItems(trained.model, AddedItems.of(rows, len(trained.items))).to_device().eval()
    share = PLACES * len(new) / model.item_data.item_count
    model.added.offset.fill_(_offset(model, histories, min(PLACES, share * exposure)))
    return _extended(trained, model, new)


def _extended(trained: Checkpoint, model: WithAddedItems, new: Sequence[str]) -> Checkpoint:
    counts = np.concatenate([trained.counts, np.zeros(len(new), np.int64)])
    return replace(trained, model=model, items=[*trained.items, *new], counts=counts)


def _offset(model: WithAddedItems, histories: Sequences, wanted: float) -> float:
    """The offset with which, on average, ``wanted`` new items stand in the first ten places.

    With the best known items k_1 >= k_2 >= ..., the i-th new item is among the first ten if, and only if, it is better
    than k_(11 - i). So each of them has one offset from which on it is there, and the answer is a quantile.
    """
    there = np.flatnonzero(histories.lengths)
    some = there[np.unique(np.linspace(0, len(there) - 1, CUSTOMERS).astype(np.int64))]
    data = histories.of(some)
    thresholds, lists = [], 0
    for block, ranked, _ in score_windows(model, profiles(data, int(model.config.length))):
        scores = ranked["masked"]
        taken = masked_items(scores, *items_until(data, block, data.offsets[1:][block]))
        scores = scores.masked_fill(taken, -torch.inf)
        thresholds.append(_thresholds(scores, ranked["masked"], model.known))
        lists += len(block)
    each = torch.cat(thresholds).sort().values
    if not len(each):
        return 0.0
    place = min(max(1, round(wanted * lists)), len(each)) - 1
    after = each[min(place + 1, len(each) - 1)]
    return float((each[place] + after) / 2 if after > each[place] else torch.nextafter(after, after + 1))


def _thresholds(scores: Tensor, everything: Tensor, known: int) -> Tensor:
    """The offsets from which on the best new items are among the first ten, [number of them], float64.

    Args:
        scores: [B, I + N], -inf for items that are no candidates.
        everything: the same without that.
        known: I.
    """
    deviation = everything[:, :known].double().std(1, correction=0, keepdim=True)
    places = min(PLACES, known, scores.shape[1] - known)
    old = scores[:, :known].double().topk(min(PLACES, known), 1).values
    new = scores[:, known:].double().topk(places, 1).values
    apart = (old.flip(1)[:, :places] - new) / deviation
    return apart[torch.isfinite(apart)]


def write_added(trained: Checkpoint, folder: Path) -> None:
    """Write the new items of a run into the folder that holds its model.safetensors.

    Raises:
        DecorecError: no items were added to the run.
    """
    if not isinstance(trained.model, WithAddedItems):
        raise DecorecError(f"{folder / ADDED}: expected a run with added items, found one without; add some first")
    arrays = {name: tensor.cpu().numpy() for name, tensor in trained.model.added.tensors().items()}
    ids = "\n".join(trained.items[trained.model.known :])
    arrays["items"] = np.frombuffer(ids.encode(), dtype=np.uint8)
    write_arrays(folder / ADDED, arrays, {"weights_sha256": _digest(folder)})


def read_added(trained: Checkpoint, folder: Path) -> Checkpoint:
    """The run with the items that were added to it, if the folder of its weights names some.

    Raises:
        DecorecError: they were added to other weights, or the file is damaged.
    """
    path = folder / ADDED
    if not path.is_file():
        return trained
    arrays, metadata = read_arrays(path)
    if metadata.get("weights_sha256") != _digest(folder):
        raise DecorecError(
            f"{path}: expected items that were added to the weights beside it, found those of others; run add-items "
            "again, or delete the file"
        )
    new = arrays.pop("items").tobytes().decode().split("\n")
    added = AddedItems({name: torch.from_numpy(array) for name, array in arrays.items()})
    return _extended(trained, WithAddedItems(trained.model, added), new)


def read_descriptions(folder: Path | None) -> pl.DataFrame:
    """What people know the items by that were added to the run whose weights lie in ``folder``; often none.

    Raises:
        DecorecError: the file is damaged.
    """
    if folder is None or not (folder / DESCRIBED).is_file():
        return pl.DataFrame(schema=DESCRIPTIONS)
    return read_table(folder / DESCRIBED, DESCRIPTIONS)


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
