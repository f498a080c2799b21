"""The models by name. Adding one takes a class here, its section in the configuration, and nothing else."""

from __future__ import annotations

from typing import Any

from decorec.models.base import Recommender
from decorec.models.bert4rec import BERT4Rec
from decorec.models.item_data import Catalogue
from decorec.models.decorec import DeCoRec
from decorec.models.dimo import DIMO
from decorec.models.floors import ContentKnn, ItemKnn, Popularity
from decorec.models.missrec import MISSRec
from decorec.models.mmmlp import MMMLP
from decorec.models.sasrec import SASRec
from decorec.models.unisrec import UniSRec

__all__ = ["MODELS", "Catalogue", "Recommender", "build"]

MODELS: dict[str, type[Recommender]] = {
    "decorec": DeCoRec,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "unisrec": UniSRec,
    "missrec": MISSRec,
    "mmmlp": MMMLP,
    "dimo": DIMO,
    "popularity": Popularity,
    "item-knn": ItemKnn,
    "content-knn": ContentKnn,
}


def build(config: Any, catalogue: Catalogue, stage: str) -> Recommender:
    """The model that ``config.name`` names, freshly initialised from torch's global generator.

    Args:
        config: a model section of the configuration.
        catalogue: the items.
        stage: ``stage1``, ``stage2`` or ``fit``.
    """
    return MODELS[config.name](config, catalogue, stage)
