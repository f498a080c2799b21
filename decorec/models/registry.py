"""The models by name. They are not imported here, so that a run only loads and depends on the code of its own model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decorec.models.base import Recommender
    from decorec.models.item_data import ItemData

__all__ = ["MODELS", "build", "model_class", "module_of"]

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
    "popularity": "decorec.models.popularity:Popularity",
    "item-knn": "decorec.models.item_knn:ItemKnn",
    "content-knn": "decorec.models.content_knn:ContentKnn",
    "hybrid-knn": "decorec.models.hybrid_knn:HybridKnn",
    "ease": "decorec.models.ease:Ease",
    "content-ease": "decorec.models.content_ease:ContentEase",
}
"""Name in the configuration -> module and class."""


def module_of(name: str) -> str:
    """The module of a model."""
    return MODELS[name].partition(":")[0]


def model_class(name: str) -> type[Recommender]:
    """The class of a model; imports its module."""
    module, _, attribute = MODELS[name].partition(":")
    found: type[Recommender] = getattr(import_module(module), attribute)
    return found


def build(config: Any, item_data: ItemData, stage: str) -> Recommender:
    """The model that ``config.name`` names, freshly initialised from torch's global generator.

    Args:
        config: a model section of the configuration.
        item_data: constant tensors over the items.
        stage: ``stage1``, ``stage2`` or ``fit``.
    """
    return model_class(config.name)(config, item_data, stage)
