"""Counts of a data set: the content of statistics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from decorec.data.sequences import Sequences

__all__ = ["describe"]


def describe(sequences: Sequences, items: int, losses: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Counts of a data set of ``items`` items.

    ``losses``: what each pass of the filter removed, in order. The entry ``paper`` counts in the way of the paper's
    table of statistics: the padding item counts as an item, and interactions are the rows of the training, validation
    and test files (one fewer per user than interactions).
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
        "paper": {
            "users": users + 1,
            "items": items + 1,
            "interactions": rows,
            "sparsity": 1 - rows / ((users + 1) * (items + 1)),
        },
    }
