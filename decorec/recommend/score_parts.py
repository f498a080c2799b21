"""What the score of an item is made of: its text, its picture, its ids, its cluster, and what the experts add.

Only DeCoRec's score has parts. It is a sum over pairs of a modality m of the history and a modality n of the item
(eq. 16 to 18), and the logit of a pair is a sum over the terms of the item's representation (eq. 10): the features of
n, the ids, the interest. Two answers follow.

- By the modalities of the history: eq. 17 of each, divided by their sum, the score (eq. 18).
- By the terms of the item, in log-odds: how much larger the logarithm of the score is than that of a product whose
  every term is the mean over all products. A logarithm of a sum is no sum over its terms. Each pair therefore has the
  weight with which the differences of its logit add up to that of the logarithm, which is a ratio of logarithmic means
  (the LMDI of Ang, Energy Policy 2004): no rest, and no order of the terms. An expert multiplies, so that it has its
  log-odds as they are.

So for two items of a list, the sums of their log-odds differ by as much as the logarithms of their scores do, or as the
scores where these are logarithms already (with experts, with added items, ``scoring: logits``).

Shapes: M modalities, I items, N some of them, D width, T terms of eq. 10; logits of pairs are [T, M, M, N], the
history's modality before the item's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from decorec.artifacts.schemas.ranks import History
from decorec.config.recommend import Exclude
from decorec.data.batches import Batch, profiles
from decorec.models.added_items import WithAddedItems, trained_model
from decorec.models.decorec import DeCoRec
from decorec.models.experts import ProductOfExperts
from decorec.nn.sparse import rows_of
from decorec.recommend.histories import from_lists
from decorec.recommend.trained import TrainedRun

__all__ = ["Parts", "ScoreParts"]

ITEMS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Parts:
    """What the score of one item is made of."""

    modalities: dict[str, float]
    """Modality -> share of the score that the history in this modality gives; empty where scores are sums of logits."""
    log_odds: dict[str, float]
    """A modality, ids, interests, floor, neighbourhood or repeats -> what the logarithm of the score has of it."""


class ScoreParts:
    """The parts of the scores of a trained run."""

    def __init__(self, trained: TrainedRun) -> None:
        self._trained = trained
        model = trained_model(trained.model)
        self._model = model if isinstance(model, DeCoRec) else None
        """None: scores have no parts."""

    @torch.no_grad()
    def of(
        self,
        history: Sequence[str],
        items: Sequence[str],
        exclude: Exclude = "bought",
        times: Sequence[int] | None = None,
    ) -> list[Parts | None]:
        """What the scores of ``items`` after a history are made of.

        None: the item was added to the run, so that others stand for it. All are None where the model has no parts, or
        knows no item of the history.

        Args:
            history: see ``TrainedRun.recommend``.
            items: ids that the run knows.
            exclude: see ``TrainedRun.recommend``; with "nothing" there is the part ``repeats``.
            times: see ``TrainedRun.recommend``.
        """
        trained, model = self._trained, self._model
        places = [trained.index[item] for item in items]
        known = [place for place in places if model is not None and place < model.item_data.item_count]
        sequences = from_lists([history], trained.index, None if times is None else [times])
        if model is None or not known or not len(sequences.items):
            return [None] * len(items)
        (_, batch), *_ = profiles(sequences, int(trained.run.model.length)).in_order(len(sequences.items))
        if isinstance(trained.model, WithAddedItems):
            batch = replace(batch, items=trained.model.stand_ins().cpu()[batch.items])
        batch = batch.to(model.item_data.device)
        chosen = torch.tensor(known, device=model.item_data.device)
        modalities, log_odds = self._fused(model, batch, chosen)
        log_odds |= self._of_experts(model, batch, chosen, exclude)
        found = {
            place: Parts(
                {name: float(share[number]) for name, share in modalities.items()},
                {name: float(values[number]) for name, values in log_odds.items()},
            )
            for number, place in enumerate(known)
        }
        return [found.get(place) for place in places]

    @cached_property
    def _means(self) -> Tensor:
        """The terms of a product that is average in all of them, [T, M, D] float64."""
        assert self._model is not None
        items = torch.arange(self._model.item_data.item_count, device=self._model.item_data.device)
        blocks = torch.split(items, ITEMS_AT_ONCE)
        sums = [self._terms(self._model, block).sum(2, dtype=torch.float64) for block in blocks]
        return torch.stack(sums).sum(0) / len(items)

    @cached_property
    def _modal(self) -> Tensor:
        """[M, I, D]; computed once, also where adapters are not frozen."""
        assert self._model is not None
        return self._model.modal()

    @cached_property
    def _neighbourhood(self) -> ProductOfExperts:
        """The expert of the neighbourhood alone."""
        assert self._model is not None and isinstance(self._model.experts, ProductOfExperts)
        alone = self._model.experts.config.model_copy(update={"floor": None, "repeats": "scored"})
        return ProductOfExperts(alone, self._model.item_data, None).to(self._model.item_data.device)

    def _terms(self, model: DeCoRec, items: Tensor) -> Tensor:
        """What eq. 10 adds up for some items, on the scale of eq. 12: features, ids, interests, [T, M, N, D]."""
        whole = self._trained.representations[:, items]
        features = self._modal[:, items]
        ids, interests = torch.zeros_like(features), torch.zeros_like(features)
        if model.interests is not None:
            of = {name: model.item_data[f"interests.{name}"][items] for name in model.interests}
            interests = torch.stack([model.interests[name](of[name]) for name in of])
        if model.ids is not None:
            ids = whole - features - interests
        terms = torch.stack([features, ids, interests])
        return terms / whole.norm(dim=-1, keepdim=True) if model.config.similarity == "cosine" else terms

    def _fused(self, model: DeCoRec, batch: Batch, items: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Shares of the history's modalities, and log-odds of the terms, [N] each."""
        representations = self._trained.representations[:, : model.item_data.item_count]
        states = model.encoder(rows_of(representations, batch.items), batch)  # eq. 9 and 11
        weights = torch.full((len(states),) * 2, float(model.config.alpha if model.config.cross else 0))
        weights = weights.fill_diagonal_(1).double().to(states.device)
        query = states[:, 0].double()
        if model.config.similarity == "cosine":
            query = functional.normalize(query, dim=-1)
        query = query / model.config.temperature
        average = torch.einsum("md,tnd->tmn", query, self._means)[..., None]
        apart = torch.einsum("md,tnid->tmni", query, self._terms(model, items).double()) - average
        if model.config.scoring == "logits":
            modalities, each = {}, weights[..., None] * apart
        else:
            total = model.total(model.logits(states, representations), len(states), None)
            assert total is not None
            before = weights.log()[..., None] + average.sum(0) - total.double()[:, None, None]
            after = before + apart.sum(0)
            lowest, score = before.logsumexp((0, 1)), after.logsumexp((0, 1))
            shares = (after.logsumexp(1) - score).exp()
            modalities = dict(zip(model.adapters, shares, strict=False))
            ratio = before - lowest + _log_mean(apart.sum(0)) - _log_mean(score - lowest)
            each = ratio.exp() * apart
        features, ids, interests = each.sum(1)
        log_odds = dict(zip(model.adapters, features, strict=False))
        log_odds |= {"ids": ids.sum(0)} if model.ids is not None else {}
        log_odds |= {"interests": interests.sum(0)} if model.interests is not None else {}
        return modalities, log_odds

    def _of_experts(self, model: DeCoRec, batch: Batch, items: Tensor, exclude: Exclude) -> dict[str, Tensor]:
        """Log-odds of what multiplies the model's shares, [N] each."""
        experts = model.experts
        if not isinstance(experts, ProductOfExperts):
            return {}

        def alone(expert: ProductOfExperts) -> Tensor:
            nothing = torch.zeros(1, model.item_data.item_count, device=items.device)
            found: dict[History, Tensor] = expert(nothing, batch)
            return found["masked"][0, items].double()

        found: dict[str, Tensor] = {}
        near = torch.zeros(len(items), dtype=torch.float64, device=items.device)
        if experts.graph is not None:
            near = found["neighbourhood"] = alone(self._neighbourhood)
        if experts.floor is not None:
            found["floor"] = alone(experts) - near
        if exclude == "nothing" and experts.repeat_rate is not None:
            ranked = model.ranking(batch, self._trained.representations[:, : model.item_data.item_count])
            found["repeats"] = (ranked["kept"] - ranked["masked"])[0, items].double()
        return found


def _log_mean(x: Tensor) -> Tensor:
    """The logarithm of (exp(x) - 1) / x, the logarithmic mean of exp(x) and 1, which is 1 at 0; for any x."""
    size = x.abs().clamp_min(1e-12)
    return x.clamp_min(0) + torch.log(-torch.expm1(-size) / size)
