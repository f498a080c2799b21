"""Multi-modal sequential recommendation: from raw reviews and pictures to tables of results, and into use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from decorec.recommend.extensible import ExtensibleRun

__all__ = ["load"]
__version__ = "0.1.0"


def load(folder: Path | str) -> ExtensibleRun:
    """A trained run, ready to recommend; see ``decorec.recommend.extensible``.

    Args:
        folder: such as results/shop/runs/decorec-plus/seed-0.
    """
    from decorec.recommend import extensible  # here, because it imports torch

    return extensible.load(folder)
