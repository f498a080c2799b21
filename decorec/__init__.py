"""Multi-modal sequential recommendation: from raw reviews and pictures to tables of results, and into use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from decorec.recommend.trained import TrainedRun

__all__ = ["load"]
__version__ = "0.1.0"


def load(folder: Path | str) -> TrainedRun:
    """A trained run, ready to recommend; see ``decorec.recommend.trained.load``.

    Args:
        folder: such as results/shop/runs/decorec-plus/seed-0.
    """
    from decorec.recommend import trained  # here, because it imports torch

    return trained.load(folder)
