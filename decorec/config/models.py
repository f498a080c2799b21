"""The model sections by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from decorec.config.baselines import (
    Bert4recConfig,
    DimoConfig,
    MissrecConfig,
    MmmlpConfig,
    SasrecConfig,
    UnisrecConfig,
)
from decorec.config.contenders import EsasrecConfig, Gru4recConfig, Hm4srConfig, SasrecFeaturesConfig
from decorec.config.decorec import DecorecConfig
from decorec.config.floors import (
    ContentEaseConfig,
    ContentKnnConfig,
    EaseConfig,
    HybridKnnConfig,
    ItemKnnConfig,
    PopularityConfig,
    VstanConfig,
)

__all__ = ["FloorConfig", "ModelConfig"]

FloorConfig = (
    PopularityConfig | ItemKnnConfig | ContentKnnConfig | HybridKnnConfig | EaseConfig | ContentEaseConfig | VstanConfig
)
"""Those that can be an expert of any other model."""

ModelConfig = Annotated[
    DecorecConfig
    | SasrecConfig
    | Bert4recConfig
    | UnisrecConfig
    | MissrecConfig
    | MmmlpConfig
    | DimoConfig
    | EsasrecConfig
    | Gru4recConfig
    | SasrecFeaturesConfig
    | Hm4srConfig
    | FloorConfig,
    Field(discriminator="name"),
]
