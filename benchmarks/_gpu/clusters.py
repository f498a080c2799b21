"""How fast k-means is."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks._gpu.sizes import Found, Sizes
from benchmarks._gpu.timing import seconds_of
from decorec.models.missrec import lloyd
from decorec.prepare.clustering import kmeans

__all__ = ["clusters"]


def clusters(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """k-means of the workflow, which runs on one thread of the processor, and MISSRec's on the device."""
    random = np.random.default_rng(0)
    x = random.standard_normal((sizes.vectors, 512), dtype=np.float32)
    x += random.standard_normal((sizes.clusters, 512), dtype=np.float32)[np.arange(len(x)) % sizes.clusters]
    there = torch.from_numpy(x).to(device)
    start = there[: sizes.centroids].clone()
    lloyd(there, start, 1)
    steps = 5
    on_device = seconds_of(device, lambda: lloyd(there, start, steps)) / (steps + 1)  # and the last assignment
    spent = seconds_of(device, lambda: kmeans(x, sizes.clusters, 0))
    return {
        "vectors": list(x.shape),
        "processor": {"clusters": sizes.clusters, "seconds": spent},
        "device": {"clusters": sizes.centroids, "seconds_per_step": on_device},
    }
