"""What the documentation takes from the code: pages of the reference, config/README.md, pictures, notebooks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["REPOSITORY"]

REPOSITORY = Path(__file__).resolve().parents[2]
