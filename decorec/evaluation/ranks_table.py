"""The table of where every user's test item stands, checked before it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.rank_metrics import Ranks

__all__ = ["ranks_table"]


def ranks_table(file: Path, data: Sequences, ranks: Ranks, candidates: npt.NDArray[np.int64]) -> pl.DataFrame:
    """One row per user: user, target (index of the test item), higher, equal.

    Args:
        file: the file that the table is for; errors name it.
        data: the sequences that were ranked.
        ranks: of the test items, [U].
        candidates: number of items that each was ranked among, itself included, [U].

    Raises:
        DecorecError: there is not exactly one row per user, or a row cannot be a count among its candidates.
    """
    rows, users = ranks.higher.shape, len(set(data.users))
    if not rows == ranks.equal.shape == (users,) == (len(data.users),):
        raise DecorecError(
            f"{file}: expected one row for each of {users} users, found {len(data.users)} sequences and "
            f"{rows[0]} ranks; run the split step again"
        )
    wrong = (ranks.higher < 0) | (ranks.equal < 0) | (ranks.higher + ranks.equal >= candidates)
    if wrong.any():
        first = int(wrong.argmax())
        raise DecorecError(
            f"{file}: expected items scored higher and equal, both at least 0, among the other "
            f"{candidates[first] - 1} candidates of user {data.users[first]!r}, found {ranks.higher[first]} higher and "
            f"{ranks.equal[first]} equal ({int(wrong.sum())} such users); the model has to score every item of the "
            "vocabulary once, for every user"
        )
    target = data.items[data.offsets[1:] - 1].astype(np.int32)
    return pl.DataFrame({"user": data.users, "target": target, **ranks.columns()})
