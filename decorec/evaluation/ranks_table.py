"""The table of where every user's target stands, checked before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.schemas.ranks import COUNTS, History
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.rank_metrics import Ranks

__all__ = ["ranks_table"]


def ranks_table(
    file: Path,
    data: Sequences,
    split: Split,
    ranks: Mapping[History, Ranks],
    candidates: Mapping[History, npt.NDArray[np.int64]],
) -> pl.DataFrame:
    """One row per user: user, target (index of the item), and the two counts with the history kept and masked.

    Args:
        file: the file that the table is for; errors name it.
        data: the sequences that were ranked; every user has a target of ``split``.
        split: whose targets were ranked.
        ranks: of these targets, each [U].
        candidates: number of items that each was ranked among, itself included, each [U].

    Raises:
        DecorecError: there is not exactly one row per user, or a row cannot be a count among its candidates.
    """
    columns: dict[str, Any] = {"user": data.users, "target": data.targets(split)}
    for history, names in COUNTS.items():
        found = ranks[history]
        _check(file, data, found, candidates[history], history)
        columns |= {name: part.astype(np.int32) for name, part in zip(names, (found.higher, found.equal), strict=True)}
    return pl.DataFrame(columns)


def _check(file: Path, data: Sequences, ranks: Ranks, candidates: npt.NDArray[np.int64], history: History) -> None:
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
            f"{candidates[first] - 1} candidates of user {data.users[first]!r} (history {history}), found "
            f"{ranks.higher[first]} higher and {ranks.equal[first]} equal ({int(wrong.sum())} such users); the "
            "model has to score every item of the vocabulary once, for every user"
        )
