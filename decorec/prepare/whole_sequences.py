"""Step whole-sequences: all interactions are for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from decorec.data.parts import whole
from decorec.data.sequences import Sequences

__all__ = ["whole_sequences"]


def whole_sequences(*, sequences: Path, output: Path) -> None:
    """Put every interaction into the training part, for the model that is used and not evaluated.

    Args:
        sequences: sequences.parquet (read).
        output: the same sequences without targets (written).

    Raises:
        DecorecError: the file is missing or damaged.
    """
    found = Sequences.read(sequences)
    replace(found, split=whole(found.lengths)).write(output)
