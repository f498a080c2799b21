"""Tiles of items give the ranks and the lists that all items at once give, for every model that ranks in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from decorec.data.sequences import Sequences
from decorec.evaluation import full_ranking
from decorec.evaluation.full_ranking import rank_by_history, rank_users
from decorec.evaluation.top_lists import TopLists
from decorec.models import sampled
from decorec.models.registry import MODELS, model_class
from decorec.models.sampled import SampledRecommender
from tests.support import small

ITEMS = 72
MODELS_AND_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("fit", {"name": "sasrec"}),
    ("fit", {"name": "esasrec"}),
    ("fit", {"name": "gru4rec"}),
    ("fit", {"name": "sasrec-features"}),
    ("fit", {"name": "sasrec-features", "sides": "history"}),
    ("fit", {"name": "hm4sr"}),
    ("stage1", {}),
    ("stage1", {"modal_layers": 2, "similarity": "cosine"}),
    ("stage1", {"cross": False}),
    ("stage2", {}),
    ("stage2", {"id_layers": 2, "scoring": "logits"}),
    ("fit", {"phased": False, "scoring": "exponentials", "cross": False}),
    ("fit", {"phased": False, "scoring": "exponentials", "modal_layers": 0}),
    ("fit", {"modalities": []}),
]
by_model = pytest.mark.parametrize(("stage", "options"), MODELS_AND_OPTIONS)


def trained(stage: str, options: dict[str, Any]) -> tuple[SampledRecommender, Sequences]:
    """A model in double precision in which two pairs of items are the same to it, and its sequences."""
    data = small.sequences(items=ITEMS, longest=20)
    run = small.run(**options)
    model = small.model(data, run, stage, items=ITEMS).double()
    assert isinstance(model, SampledRecommender)
    model.observe(data.training())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        tables = [*model.id_tables(), *(x for name, x in model.item_data.tensors().items() if name[0] != "g")]
        for table in tables:
            table[[3, 66]] = table[[11, 12]].clone()
    return model, data


def each_by_itself(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """A product whose elements do not depend on its shape, as a library's do, so that a tie is one everywhere."""
    out = (left[..., None, :] * right).sum(-1)
    return out if bias is None else out + bias


def in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 of the 72 items, for 30 of the 60 users together and a few of these at a time."""
    monkeypatch.setattr(sampled, "REPRESENTED", ITEMS - 1)
    monkeypatch.setattr(full_ranking, "ITEMS_AT_ONCE", 16)
    monkeypatch.setattr(full_ranking, "USERS_AT_ONCE", 30)
    monkeypatch.setattr(full_ranking, "TOKENS_AT_ONCE", 100)
    monkeypatch.setattr(full_ranking, "LOGITS_AT_ONCE", 1)
    monkeypatch.setattr(full_ranking, "FEWEST_AT_ONCE", 7)


@by_model
def test_ranks_and_lists_are_those_of_all_items_at_once(
    stage: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "linear", each_by_itself)
    model, data = trained(stage, options)
    among = np.unique(np.concatenate([data.targets("test"), np.arange(50, ITEMS)]))
    each = []
    for tiles in (False, True):
        if tiles:
            in_tiles(monkeypatch)
            monkeypatch.setattr(model, "item_representations", None)  # which are those of all items
        lists = TopLists(data, "test", ITEMS)
        found = rank_by_history(model, data, "test", lists.add)
        each.append((found, lists.lists, rank_users(model, data, "valid"), rank_users(model, data, "test", among)))
    (whole, lists, valid, few), (tiled, other_lists, other_valid, other_few) = each
    assert (valid, few) == (other_valid, other_few)
    for history, counts in whole.items():
        assert counts == tiled[history]
        assert lists[history].tolist() == other_lists[history].tolist()
    assert whole["kept"].higher.max() > 30
    alone = getattr(model, "graph", None) is None  # items with the same content have different neighbours
    assert whole["kept"].equal.max() == (1 if alone else 0)


def test_every_model_that_ranks_in_tiles_is_tested() -> None:
    tiled = {name for name in MODELS if issubclass(model_class(name), SampledRecommender)}
    assert tiled == {options.get("name", "decorec") for _, options in MODELS_AND_OPTIONS}


def test_a_target_outside_the_candidates_of_a_tile_keeps_its_score() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 4.0]])
    found = full_ranking.ranks(scores, torch.tensor([-4, 1]), torch.tensor([2.0, 5.0]))
    assert found.higher.tolist() == [1, 0]
    assert found.equal.tolist() == [1, 1]
