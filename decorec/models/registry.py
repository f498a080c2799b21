"""The models by name. They are not imported here, so that a run only loads and depends on the code of its own model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decorec.config.runs import Run
    from decorec.models.base import Recommender
    from decorec.models.item_data import ItemData

__all__ = ["MODELS", "build", "model_class", "modules_of"]

MODELS = {
    "decorec": "decorec.models.decorec:DeCoRec",
    "sasrec": "decorec.models.sasrec:SASRec",
    "bert4rec": "decorec.models.bert4rec:BERT4Rec",
    "unisrec": "decorec.models.unisrec:UniSRec",
    "missrec": "decorec.models.missrec:MISSRec",
    "mmmlp": "decorec.models.mmmlp:MMMLP",
    "dimo": "decorec.models.dimo:DIMO",
    "esasrec": "decorec.models.esasrec:ESASRec",
    "gru4rec": "decorec.models.gru4rec:GRU4Rec",
    "sasrec-features": "decorec.models.sasrec_features:SASRecFeatures",
    "hm4sr": "decorec.models.hm4sr:HM4SR",
    "popularity": "decorec.models.popularity:Popularity",
    "item-knn": "decorec.models.item_knn:ItemKnn",
    "content-knn": "decorec.models.content_knn:ContentKnn",
    "hybrid-knn": "decorec.models.hybrid_knn:HybridKnn",
    "ease": "decorec.models.ease:Ease",
    "content-ease": "decorec.models.content_ease:ContentEase",
    "vstan": "decorec.models.vstan:Vstan",
}
"""Name in the configuration -> module and class."""


def modules_of(run: Run) -> set[str]:
    """The modules of a run's model and of its experts."""
    named = [run.model.name, *([run.experts.floor.name] if run.experts.floor is not None else [])]
    experts = {"decorec.models.experts"} if run.experts.active else set()
    return {MODELS[name].partition(":")[0] for name in named} | experts


def model_class(name: str) -> type[Recommender]:
    """The class of a model; imports its module."""
    module, _, attribute = MODELS[name].partition(":")
    found: type[Recommender] = getattr(import_module(module), attribute)
    return found


def build(run: Run, item_data: ItemData, stage: str) -> Recommender:
    """The model of ``run`` for one of its stages, freshly initialised from torch's global generator, with its experts.

    Args:
        run: its model is named by ``model.name``; its experts belong to the last stage.
        item_data: constant tensors over the items.
        stage: ``stage1``, ``stage2`` or ``fit``.
    """
    model = model_class(run.model.name)(run.model, item_data, stage)
    experts = run.for_stage(stage).experts
    if experts.active:
        from decorec.models.experts import ProductOfExperts

        floor = None
        if experts.floor is not None:
            floor = model_class(experts.floor.name)(experts.floor, item_data, "fit")
        model.experts = ProductOfExperts(experts, item_data, floor)
    return model
