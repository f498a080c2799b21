"""The tables that hold runs against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["COMPARISONS", "Comparison"]


@dataclass(frozen=True)
class Comparison:
    """One kind of table."""

    source: str
    """What the paper has of the kind."""
    caption: str
    column: str
    """Name of the column of runs in the csv."""
    paper: Literal["main", "ablations"] | None
    """Table of the paper that the figures are read against; None: it has a drawing only."""


COMPARISONS = {
    "main": Comparison("Table 2", "Comparison of models on the test targets", "model", "main"),
    "ablations": Comparison("Table 4", "Ablations on the test targets", "variant", "ablations"),
    "fusion": Comparison("Figure 4", "Ids, modalities and their naive fusion on the test targets", "model", None),
}
