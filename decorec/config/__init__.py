"""The configuration: one typed model that validates config.yaml, gives defaults and generates the JSON schema."""

from decorec.config.base import Section, explain
from decorec.config.datasets import (
    AmazonDataset,
    AtomicDataset,
    CrawlConfig,
    Dataset,
    DownloadConfig,
    FilterConfig,
    SampleDataset,
    TableDataset,
)
from decorec.config.features import FeaturesConfig
from decorec.config.training import DecorecConfig, GraphConfig, InterestsConfig, StageConfig, TrainConfig
from decorec.config.models import ModelConfig
from decorec.config.root import Config, describe, load
from decorec.config.runs import PRESETS, Run

__all__ = [
    "PRESETS",
    "AmazonDataset",
    "AtomicDataset",
    "Config",
    "CrawlConfig",
    "Dataset",
    "DecorecConfig",
    "DownloadConfig",
    "FeaturesConfig",
    "FilterConfig",
    "GraphConfig",
    "InterestsConfig",
    "ModelConfig",
    "Run",
    "SampleDataset",
    "Section",
    "StageConfig",
    "TableDataset",
    "TrainConfig",
    "describe",
    "explain",
    "load",
]
