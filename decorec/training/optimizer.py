"""The optimizer and its learning rates."""

from __future__ import annotations

import torch

from decorec.config.training import StageConfig
from decorec.data.batches import Samples
from decorec.models.base import Recommender

__all__ = ["build_optimizer", "warmup"]


def build_optimizer(model: Recommender, config: StageConfig) -> torch.optim.Adam:
    """Adam over the model's groups.

    Raises:
        ValueError: the groups do not contain every trainable parameter exactly once (with this mistake the released
            code does not train its embedding tables).
    """
    groups = model.parameter_groups(config)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    wrong = [name for key, name in trainable.items() if grouped.count(key) != 1]
    if wrong or set(grouped) - set(trainable):
        raise ValueError(f"optimizer groups do not contain each trainable parameter exactly once: {wrong}")
    for group in groups:
        group["base_lr"] = group["lr"]
    return torch.optim.Adam(groups, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True)


def warmup(step: int, samples: Samples, config: StageConfig) -> float:
    """Factor of the learning rates at ``step``: linear over the first ``warmup_epochs``, then 1."""
    steps = config.warmup_epochs * samples.target_count / config.batch_size
    return min(1.0, (step + 1) / steps) if steps else 1.0
