"""Counts of a data set: the content of statistics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from decorec.data.parts import point_in_time
from decorec.data.sequences import Sequences

__all__ = ["describe"]

DAY = 86_400


def describe(
    sequences: Sequences,
    items: int,
    losses: Sequence[dict[str, Any]] = (),
    protocol: str = "leave-one-out",
    quantile: float = 0.9,
) -> dict[str, Any]:
    """Counts of a data set of ``items`` items.

    ``losses``: what each pass of the filter removed, in order. ``protocol`` and ``quantile``: the section split. The
    entry ``paper`` counts in the way of the paper's table of statistics: the padding item counts as an item, and
    interactions are the rows of the training, validation and test files (one fewer per user than interactions).
    """
    users, interactions = len(sequences.users), len(sequences.items)
    lengths = sequences.lengths
    rows = interactions - users
    return {
        "users": users,
        "items": items,
        "interactions": interactions,
        "sparsity": 1 - interactions / (users * items),
        "length": {
            "min": int(lengths.min()),
            "mean": interactions / users,
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "filter": list(losses),
        "split": {"protocol": protocol, "quantile": quantile, **_targets(sequences, items, quantile)},
        "paper": {
            "users": users + 1,
            "items": items + 1,
            "interactions": rows,
            "sparsity": 1 - rows / ((users + 1) * (items + 1)),
        },
    }


def _targets(sequences: Sequences, items: int, quantile: float) -> dict[str, Any]:
    """What the split does: how many are trained on and predicted, and how near the targets are to what is trained on.

    Shares are of the test targets, null where times are unknown. ``cold``: the item has no interaction in the training
    part. ``early``: before the point in time that ``quantile`` of all interactions do not exceed. ``same_day``: on
    the day (UTC) of the interaction before it.
    """
    training, tested = sequences.training().items, sequences.having("test")
    counts, places = np.bincount(training, minlength=items), tested.places("test")
    times = tested.timestamps
    early = same_day = None
    if sequences.timestamps is not None and times is not None:
        early = float(np.mean(times[places] < point_in_time(sequences.timestamps, quantile)))
        same_day = float(np.mean(times[places] // DAY == times[places - 1] // DAY))
    return {
        "training": len(training),
        "cold_items": int(np.count_nonzero(counts == 0)),
        "validation_targets": len(sequences.having("valid").users),
        "test_targets": len(places),
        "cold": float(np.mean(counts[tested.targets("test")] == 0)),
        "early": early,
        "same_day": same_day,
    }
