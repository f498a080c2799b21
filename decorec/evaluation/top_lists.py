"""The first items of every user's ranking, with the history kept and masked, taken from the scores that are ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from decorec.artifacts.schemas.lists import LENGTH, LISTS
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.data.contract import check_lists
from decorec.data.id_codes import unique
from decorec.data.parts import Split
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import Scores, among_items, masked_items, past_of
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
        self.scores: dict[History, npt.NDArray[Any]] = {}
        """[U, LENGTH] their scores, where the items come tile by tile."""

    def add(self, chosen: npt.NDArray[np.int64], ranked: Scores, begin: int = 0) -> None:
        """Take the lists of the users ``chosen`` [B] from their scores of all items, or of a tile, [B, N] each.

        ``begin``: the first item; tiles come in the order of their items.
        """
        scores = ranked["masked"]
        count = scores.shape[1]
        rows, past = among_items(past_of(self.sequences, self.split, chosen), begin, count)
        most = int(np.bincount(rows, minlength=1).max())
        masked = top_without(scores, masked_items(scores, rows, past), most, LENGTH)
        both: dict[History, torch.Tensor] = {"kept": top(ranked["kept"], LENGTH), "masked": masked}
        for history, found in both.items():
            if count == self.items:
                self.lists[history][chosen, : found.shape[1]] = found.cpu().numpy()
            else:
                own = ranked[history].gather(1, found.clamp_min(0)).cpu().numpy()
                there = found.cpu().numpy()
                self._merge(history, chosen, np.where(there < 0, -1, there + begin), own)

    def _merge(
        self, history: History, chosen: npt.NDArray[np.int64], items: npt.NDArray[np.int64], own: npt.NDArray[Any]
    ) -> None:
        """Put later ``items`` [B, N], best first, -1 behind the last, with their scores into the lists."""
        scores = self.scores.setdefault(history, np.zeros(self.lists[history].shape, own.dtype))
        items = np.concatenate([self.lists[history][chosen], items], 1)
        own = np.concatenate([scores[chosen], own], 1)
        order = np.lexsort([-own, items < 0])[:, :LENGTH]  # a stable sort: a tie stays in the order of the items
        self.lists[history][chosen] = np.take_along_axis(items, order, 1)
        scores[chosen] = np.take_along_axis(own, order, 1)

    def table(self, path: Path) -> pl.DataFrame:
        """The rows of lists.parquet, to be written to ``path``: all users with the history kept, then masked.

        Raises:
            DecorecError: a list has an item twice or one that it must not have, or is too short.
        """
        rows, past = past_of(self.sequences, self.split, np.arange(len(self.sequences.users)))
        taken: dict[History, npt.NDArray[np.int64]] = {
            "kept": np.empty(0, np.int64),
            "masked": unique(rows * self.items + past),
        }
        frames = []
        for history, lists in self.lists.items():
            check_lists(path, lists, self.items, taken[history])
            items = pl.Series(lists, dtype=pl.Array(pl.Int32, LENGTH)).arr.to_list()
            lengths = pl.lit(pl.Series((lists >= 0).sum(1)))
            columns = {"user": self.sequences.users, "history": [history] * len(lists), "items": items}
            frames.append(pl.DataFrame(columns).with_columns(pl.col("items").list.head(lengths)))
        return pl.concat(frames).cast(pl.Schema(LISTS))
