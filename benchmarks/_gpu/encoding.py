"""How fast pictures become features."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks._gpu.sizes import Found, Sizes
from benchmarks._gpu.timing import seconds_of
from benchmarks.encode import bare_forward, extraction, store_inputs
from decorec.features.clip import build_clip

__all__ = ["encoding"]


def encoding(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Pictures per second from stored JPEG files to a file of features, beside the forward pass alone, in bf16."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    encoder = build_clip(sizes.encoder, None, "bf16", device)
    with tempfile.TemporaryDirectory(prefix="decorec-gpu-") as name:
        inputs = store_inputs(Path(name), [""] * sizes.pictures, sizes.drawn)
        forward = bare_forward(encoder, sizes.pictures, sizes.batch)
        bare_forward(encoder, sizes.batch, sizes.batch)()
        bare = min(seconds_of(device, forward) for _ in range(2))
        whole = extraction(encoder, "image", inputs, Path(name), sizes.batch, threads)
        turns = [seconds_of(device, whole) for _ in range(2)]
    return {
        "model": sizes.encoder,
        "pictures": sizes.pictures,
        "threads": threads,
        "pictures_per_second": sizes.pictures / min(turns),
        "forward_per_second": sizes.pictures / bare,
        "share_of_forward": bare / min(turns),
    }
