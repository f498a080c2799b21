"""How fast all users are ranked."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks._gpu.models import built
from benchmarks._gpu.sizes import Found, Sizes
from benchmarks._gpu.timing import peak_rate, seconds_of
from benchmarks._worlds import generated
from benchmarks.ranking import operations
from decorec.config.runs import resolve
from decorec.evaluation.full_ranking import rank_users

__all__ = ["ranking"]


def ranking(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Full ranking of every user's test item by DeCoRec."""
    world = generated("ranked", **sizes.world)
    run = resolve({}, "described", {"model": sizes.width})
    model = built(run, world, "stage1", device).eval()
    few = world.sequences.of(np.arange(min(2000, len(world.sequences.users))))
    rank_users(model, few, "test")
    spent = seconds_of(device, lambda: rank_users(model, world.sequences, "test"))
    users, peak = len(world.sequences.users), peak_rate(device, torch.float32, sizes.products)
    return {
        "users": users,
        "items": world.item_data.item_count,
        "users_per_second": users / spent,
        "share_of_peak": operations(world, run.model) / spent / peak,
    }
