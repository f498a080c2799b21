"""A trained run, ready to use: recommendations from whole histories, similar items, vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from decorec.artifacts.layout import path_of
from decorec.artifacts.schemas.ranks import History
from decorec.artifacts.seal import place_in, sources_agree
from decorec.config.recommend import Exclude, Fallback
from decorec.data.batches import profiles
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import items_until, masked_items, score_windows
from decorec.evaluation.ranking import top, top_without
from decorec.models import checkpoint
from decorec.models.checkpoint import Checkpoint
from decorec.recommend.histories import chosen, expect_ids, from_lists
from decorec.recommend.new_items import read_added
from decorec.recommend.self_contained import checked

__all__ = ["Lists", "Reason", "Recommendation", "TrainedRun", "load"]

Reason = Literal["model", "popular"]


@dataclass(frozen=True)
class Recommendation:
    """One item of a list."""

    item: str
    score: float
    """What the list is ranked by: larger is better. Comparable within one list only."""
    reason: Reason
    """model: the model's score after the history; popular: the number of training interactions, where the model knows
    no item of the history."""


@dataclass(frozen=True)
class Lists:
    """The lists of U histories, of up to k items each."""

    items: npt.NDArray[np.int32]
    """[U, k] item indices, best first; -1 behind the last."""
    scores: npt.NDArray[np.float32]
    """[U, k]; NaN behind the last."""
    popular: npt.NDArray[np.bool_]
    """[U] whether the list is the fallback."""


class TrainedRun:
    """A trained run, ready to use.

    A history is all that somebody bought, oldest first. Items that the model does not know are passed over; it reads
    the last ``model.length`` of the others. Blanks around an id do not count. Not safe for several threads at once.
    """

    def __init__(self, trained: Checkpoint, folder: Path | None = None) -> None:
        self.checkpoint = trained
        self.folder = folder
        """Where its model lies."""
        self.model = trained.model.to_device().eval()
        self.run, self.stage, self.seed = trained.run, trained.stage, trained.seed
        self.items = trained.items
        """Item ids in the order of their index."""
        self.counts = trained.counts
        """[I] training interactions of each item."""
        self.index = {item: place for place, item in enumerate(trained.items)}
        """Item id -> index."""

    @cached_property
    def representations(self) -> Tensor:
        """The model's representations of all items, computed once, [M, I, D]."""
        with torch.no_grad():
            return self.model.item_representations().detach()

    def recommend(
        self,
        history: Sequence[str],
        k: int = 12,
        *,
        exclude: Exclude = "bought",
        exclude_items: Iterable[str] = (),
        only: Iterable[str] | None = None,
        fallback: Fallback = "popular",
        times: Sequence[int] | None = None,
    ) -> list[Recommendation]:
        """The ``k`` best items after a history, or all candidates if there are fewer.

        Args:
            history: item ids, oldest first.
            k: at least 1.
            exclude: bought: no item of the history; nothing: these are candidates as well.
            exclude_items: ids that are no candidates either.
            only: ids that are the only candidates; None: all items of the model.
            fallback: popular: the items with the most training interactions, where the model knows no item of the
                history; none: an empty list.
            times: time stamps of the history in seconds, for models that read them.

        Raises:
            DecorecError: a value is out of bounds, no candidate is left, or the model reads times and there are none.
        """
        return self.recommend_many(
            [history],
            k,
            exclude=exclude,
            exclude_items=exclude_items,
            only=only,
            fallback=fallback,
            times=None if times is None else [times],
        )[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 12,
        *,
        exclude: Exclude = "bought",
        exclude_items: Iterable[str] = (),
        only: Iterable[str] | None = None,
        fallback: Fallback = "popular",
        times: Sequence[Sequence[int]] | None = None,
    ) -> list[list[Recommendation]]:
        """The same for many histories at once, which is faster than one after another."""
        candidates = self.candidates(exclude_items, only)
        found = self.lists(from_lists(histories, self.index, times), k, exclude, candidates, fallback)
        return [
            [
                Recommendation(self.items[item], float(score), "popular" if popular else "model")
                for item, score in zip(items, scores, strict=True)
                if item >= 0
            ]
            for items, scores, popular in zip(found.items.tolist(), found.scores, found.popular, strict=True)
        ]

    def candidates(
        self, exclude_items: Iterable[str] = (), only: Iterable[str] | None = None
    ) -> npt.NDArray[np.int64] | None:
        """The indices of the items that may be recommended, ascending; None: all.

        Raises:
            DecorecError: none is left.
        """
        excluded = chosen(expect_ids("exclude_items", exclude_items), self.index)
        if only is None and not len(excluded):
            return None
        allowed = np.arange(len(self.items)) if only is None else chosen(expect_ids("only", only), self.index)
        left = np.setdiff1d(allowed, excluded)
        if not len(left):
            raise DecorecError(
                f"candidates: expected items of the model's {len(self.items)} (such as {self.items[0]!r}), found none "
                "that is allowed and not excluded; correct the lists"
            )
        return left

    def lists(
        self,
        histories: Sequences,
        k: int,
        exclude: Exclude = "bought",
        candidates: npt.NDArray[np.int64] | None = None,
        fallback: Fallback = "popular",
    ) -> Lists:
        """The lists of histories that are given as sequences of indices; some may be empty.

        Args:
            histories: of U customers.
            k: items of a list.
            exclude: see ``recommend``.
            candidates: indices of the only candidates, ascending; None: all.
            fallback: see ``recommend``.

        Raises:
            DecorecError: see ``recommend``.
        """
        _expect_one_of("exclude", exclude, Exclude)
        _expect_one_of("fallback", fallback, Fallback)
        _expect_length(k)
        there = np.flatnonzero(histories.lengths)
        if self.model.needs_times and histories.timestamps is None and len(there):
            raise DecorecError(
                f"{self.run.model.name}: expected the time stamp of every item of the history, found none; give times"
            )
        size = min(k, len(self.items) if candidates is None else len(candidates))
        shape = len(histories.lengths), size
        found = Lists(np.full(shape, -1, np.int32), np.full(shape, np.nan, np.float32), np.zeros(shape[0], np.bool_))
        if len(there):
            self._fill(found, histories, there, size, exclude, candidates)
        empty = np.flatnonzero(histories.lengths == 0)
        if fallback == "popular" and len(empty):
            counts = torch.from_numpy(self.counts).double()
            best = top((counts if candidates is None else counts[torch.from_numpy(candidates)])[None], size)[0].numpy()
            best = best if candidates is None else candidates[best]
            found.items[empty], found.scores[empty], found.popular[empty] = best, self.counts[best], True
        return found

    def _fill(
        self,
        found: Lists,
        histories: Sequences,
        there: npt.NDArray[np.int64],
        size: int,
        exclude: Exclude,
        candidates: npt.NDArray[np.int64] | None,
    ) -> None:
        """Fill in the lists of the users ``there``, who have an item."""
        data = histories if len(there) == len(histories.lengths) else histories.of(there)
        device = self.model.item_data.device
        among = None if candidates is None else torch.from_numpy(candidates).to(device)
        treatment: History = "masked" if exclude == "bought" else "kept"
        windows = profiles(data, int(self.run.model.length))
        for block, ranked, _ in score_windows(self.model, windows, self.representations):
            scores = ranked[treatment]
            if exclude == "bought":
                taken = masked_items(scores, *items_until(data, block, data.offsets[1:][block]))
                if among is not None:
                    scores, taken = scores.index_select(1, among), taken.index_select(1, among)
                best = top_without(scores, taken, int(data.lengths[block].max()), size)
            else:
                if among is not None:
                    scores = scores.index_select(1, among)
                best = top(scores, size)
            values = scores.gather(1, best.clamp_min(0)).masked_fill(best < 0, np.nan)
            items = best if among is None else among[best.clamp_min(0)].masked_fill(best < 0, -1)
            found.items[there[block]] = items.cpu().numpy()
            found.scores[there[block]] = values.float().cpu().numpy()
            del ranked, scores  # or they lie in memory while the next block is scored

    def similar(self, item: str, k: int = 12) -> list[Recommendation]:
        """The ``k`` items that are most similar to ``item``, without itself.

        By the cosine of their vectors (see ``embed``); a model without vectors ranks by its scores after a history of
        this item alone.

        Raises:
            DecorecError: the model does not know the item, or k is out of bounds.
        """
        (item,) = expect_ids("item", [item])
        place = self._place(item)
        _expect_length(k)
        if not self._has_vectors:
            return self.recommend([item], k, times=[0] if self.model.needs_times else None)
        vectors = self._vectors
        cosine = (vectors @ vectors[place])[None]
        taken = torch.zeros(cosine.shape, dtype=torch.bool, device=cosine.device)
        taken[0, place] = True
        best = top_without(cosine, taken, 1, min(k, len(self.items) - 1))[0].tolist()
        return [Recommendation(self.items[other], float(cosine[0, other]), "model") for other in best]

    def embed(self, items: Iterable[str] | None = None) -> npt.NDArray[np.float32]:
        """Vectors of items, [n, M * D] of length 1: their representations in each modality, of equal length each.

        The product of two of them is the mean over the modalities of the cosine.

        Args:
            items: ids; None: all items of the model, in their order.

        Raises:
            DecorecError: the model does not know an item, or has no vectors.
        """
        if not self._has_vectors:
            raise DecorecError(
                f"{self.run.model.name}: expected a model with a vector for each item, found one that scores "
                "by counts; take another run"
            )
        vectors: npt.NDArray[np.float32] = self._vectors.cpu().numpy()
        return vectors if items is None else vectors[[self._place(item) for item in expect_ids("items", items)]]

    def _place(self, item: str) -> int:
        if item not in self.index:
            raise DecorecError(
                f"item {item!r}: expected one of the model's {len(self.items)} items (such as {self.items[0]!r}), "
                "found another; correct the id, or train with it"
            )
        return self.index[item]

    @property
    def _has_vectors(self) -> bool:
        """Whether the representations are vectors of a width of their own, and not counts or coefficients."""
        return any(True for _ in self.model.parameters())

    @cached_property
    def _vectors(self) -> Tensor:
        each: Tensor = functional.normalize(self.representations.float(), dim=-1) / len(self.representations) ** 0.5
        return each.transpose(0, 1).flatten(1)


def _expect_length(k: int) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise DecorecError(f"k: expected 1 or more, found {k}; correct it")


def _expect_one_of(name: str, found: str, words: Any) -> None:
    if found not in get_args(words):
        raise DecorecError(f"{name}: expected {' or '.join(get_args(words))}, found {found!r}; correct it")


def load(folder: Path | str) -> TrainedRun:
    """A trained run from its folder.

    Args:
        folder: of a run and seed, such as results/shop/runs/decorec-plus/seed-0, or one that holds model.safetensors
            and config.json; it may have been copied anywhere outside of a folder named results. Or a self-contained one
            (``decorec export --self-contained``), which may lie anywhere.

    Raises:
        DecorecError: there is no trained model, there are two, or a file is damaged.
    """
    folder = checked(Path(folder))
    inside = [folder / stage for stage in ("", "stage2", "fit") if (folder / stage / "model.safetensors").is_file()]
    if not inside:
        raise DecorecError(
            f"{folder}: expected the folder of a trained run (with stage2/model.safetensors or fit/model.safetensors), "
            "found none; train the run, or correct the path"
        )
    if len(inside) > 1:
        raise DecorecError(
            f"{folder}: expected one model, found {' and '.join(map(str, inside))}: one of them is left from another "
            "configuration; delete its folder, or give that of the other"
        )
    weights, config = inside[0] / "model.safetensors", inside[0] / "config.json"
    with sources_agree():
        _belong_together(weights, config)
        trained = read_added(checkpoint.load(weights, config), inside[0])
    if trained.stage != trained.run.stages[-1]:
        raise DecorecError(
            f"{inside[0]}: expected the last stage of the run ({trained.run.stages[-1]}), found {trained.stage}; give "
            "the folder of that stage"
        )
    return TrainedRun(trained, inside[0])


def _belong_together(weights: Path, config: Path) -> None:
    """Files of two runs fit each other in their shapes, often."""
    own, other = place_in(weights), place_in(config)
    if own and other and PurePath(own).parent != PurePath(other).parent:
        raise DecorecError(
            f"{config}: expected the file that was written beside {path_of(own)}, found {path_of(other)}; put the "
            "right one there, or train the run again"
        )
