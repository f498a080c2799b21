"""What computes."""

from __future__ import annotations

import platform
import subprocess

import torch

from benchmarks._gpu.sizes import Found, Sizes

__all__ = ["environment"]


def environment(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """What computes."""
    found: Found = {
        "device": device.type,
        "card": None,
        "memory_bytes": None,
        "capability": None,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"card": properties.name, "memory_bytes": properties.total_memory}
        found["capability"] = f"{properties.major}.{properties.minor}"
    return found


def _driver() -> str | None:
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.split("\n")[0].strip() or None if said.returncode == 0 else None
