"""The configuration: typed sections that validate config.yaml, give defaults and generate the JSON schema."""

from decorec.config.acquire import CrawlConfig, DownloadConfig
from decorec.config.base import Section, explain
from decorec.config.datasets import AmazonDataset, AtomicDataset, Dataset, SampleDataset, TableDataset
from decorec.config.decorec import DecorecConfig
from decorec.config.evaluation import EvaluateConfig
from decorec.config.features import FeaturesConfig
from decorec.config.models import ModelConfig
from decorec.config.prepare import FilterConfig, GraphConfig, InterestsConfig, SplitConfig
from decorec.config.root import Config, describe, load
from decorec.config.runs import PRESETS, Run
from decorec.config.training import StageConfig, TrainConfig, TuningConfig

__all__ = [
    "PRESETS",
    "AmazonDataset",
    "AtomicDataset",
    "Config",
    "CrawlConfig",
    "Dataset",
    "DecorecConfig",
    "DownloadConfig",
    "EvaluateConfig",
    "FeaturesConfig",
    "FilterConfig",
    "GraphConfig",
    "InterestsConfig",
    "ModelConfig",
    "Run",
    "SampleDataset",
    "Section",
    "SplitConfig",
    "StageConfig",
    "TableDataset",
    "TrainConfig",
    "TuningConfig",
    "describe",
    "explain",
    "load",
]
