"""The first items of every user's ranking, with the history kept and masked, taken from the scores that are ranked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.schemas.lists import LENGTH, LISTS
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.contract import check_lists
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import Scores, masked_items, past_of
from decorec.evaluation.ranking import top, top_without

__all__ = ["TopLists"]


class TopLists:
    """Collects the lists of all users block by block: ``add`` is for ``observe`` of ``rank_by_history``."""

    def __init__(self, sequences: Sequences, split: Split, items: int) -> None:
        """No list yet; ``items``: number of items that are ranked."""
        self.sequences, self.split, self.items = sequences, split, items
        shape = len(sequences.users), LENGTH
        self.lists: dict[History, npt.NDArray[np.int32]] = {name: np.full(shape, -1, np.int32) for name in HISTORIES}
        """[U, LENGTH] item indices, -1 behind the last."""

    def add(self, chosen: npt.NDArray[np.int64], ranked: Scores) -> None:
        """Take the lists of the users ``chosen`` [B] from their scores, [B, I] each."""
        scores = ranked["masked"]
        rows, past = past_of(self.sequences, self.split, chosen)
        masked = top_without(scores, masked_items(scores, rows, past), int(np.bincount(rows).max()), LENGTH)
        for history, found in (("kept", top(ranked["kept"], LENGTH)), ("masked", masked)):
            self.lists[history][chosen, : found.shape[1]] = found.cpu().numpy()  # type: ignore[index]

    def table(self, path: Path) -> pl.DataFrame:
        """The rows of lists.parquet, to be written to ``path``: all users with the history kept, then masked.

        Raises:
            DecorecError: a list has an item twice or one that it must not have, or is too short.
        """
        rows, past = past_of(self.sequences, self.split, np.arange(len(self.sequences.users)))
        taken: dict[History, npt.NDArray[np.int64]] = {
            "kept": np.empty(0, np.int64),
            "masked": np.unique(rows * self.items + past),
        }
        frames = []
        for history, lists in self.lists.items():
            check_lists(path, lists, self.items, taken[history])
            items = pl.Series(lists, dtype=pl.Array(pl.Int32, LENGTH)).arr.to_list()
            lengths = pl.lit(pl.Series((lists >= 0).sum(1)))
            columns = {"user": self.sequences.users, "history": [history] * len(lists), "items": items}
            frames.append(pl.DataFrame(columns).with_columns(pl.col("items").list.head(lengths)))
        return pl.concat(frames).cast(pl.Schema(LISTS))
