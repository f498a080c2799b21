"""What statistics.json says of the split of a data set, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from decorec.artifacts.files import read_json
from decorec.errors import DecorecError
from decorec.tables.render import percent

__all__ = ["SplitFacts", "population", "read_split"]


@dataclass(frozen=True)
class SplitFacts:
    """The entry ``split`` of statistics.json (``decorec.data.dataset_statistics``)."""

    protocol: str
    quantile: float
    training: int
    """Interactions of the training part."""
    cold_items: int
    """Items without an interaction there."""
    validation_targets: int
    test_targets: int
    cold: float
    """Share of the test targets that are cold items."""
    early: float | None
    """Share of them before the point in time that ``quantile`` of all interactions do not exceed; None: no times."""
    same_day: float | None
    """Share of them on the day of the interaction before."""

    def sentence(self, dataset: str) -> str:
        """The figures, for the notes of a table."""
        parts = [
            f"{dataset}, {self.protocol}: {self.training:,} interactions to train on, {self.validation_targets:,} "
            f"validation and {self.test_targets:,} test targets",
            f"{self.cold:.1%} of the test targets are items without a training interaction ({self.cold_items:,} items)",
        ]
        if self.early is not None and self.same_day is not None:
            parts.append(
                f"{self.early:.1%} lie before the time that {percent(self.quantile)} of all interactions do not exceed"
                f", {self.same_day:.1%} on the day of the interaction before them"
            )
        return "; ".join(parts) + "."


def read_split(file: Path) -> SplitFacts:
    """Read statistics.json.

    Raises:
        DecorecError: the file is missing or lacks a fact.
    """
    found = read_json(file)
    try:
        return SplitFacts(**{field.name: found["split"][field.name] for field in fields(SplitFacts)})
    except (KeyError, TypeError) as error:
        raise DecorecError(
            f"{file}: expected the entry split, found a problem with {error}; run the step that writes it again"
        ) from error


def population(facts: SplitFacts) -> str:
    """Which users give a rank, and for which target."""
    if facts.protocol == "temporal":
        return (
            "Users with an item after one point in time for all, which "
            f"{percent(facts.quantile)} of the interactions do not exceed; one target each: the first item after it. "
            "Validation is the same within the earlier part, and only what lies before its point is trained on."
        )
    return (
        "Every user of the data set, one target each: the last item of the sequence (leave-one-out). "
        "The item before it is for validation, the rest for training."
    )
