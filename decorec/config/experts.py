"""Section of the experts: what is multiplied with a model's shares of the items when items are ranked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from decorec.config.base import Section
from decorec.config.models import FloorConfig

__all__ = ["ExpertsConfig"]


class ExpertsConfig(Section):
    """A product of experts, the same for every model.

    The model's shares of the items are multiplied with what was counted in the training part. The last stage of a run
    has them, in the validation that chooses its best epoch and in the ranking; the loss does not know them.
    """

    floor: Annotated[FloorConfig, Field(discriminator="name")] | None = None
    """A floor with its own keys, such as {name: content-ease, ridge: 100}: its scores, standardised over the items of a
    user (z), multiply the shares by exp(weight * z). null: none."""
    weight: float = Field(0.3, ge=0)
    """Weight of the floor."""
    neighbourhood: float = Field(0.0, ge=0)
    """Weight w of the factor 1 + w q, where q is the co-occurrence of an item with the history. The unit of q is the
    mean over all items that co-occur with the history."""
    repeats: Literal["scored", "counted"] = "scored"
    """Share of the items of the history where they are kept among the candidates: scored: as the model scores them;
    counted: the share of repeats in training."""

    @property
    def active(self) -> bool:
        """Whether anything is multiplied."""
        return self.floor is not None or self.neighbourhood > 0 or self.repeats == "counted"

    def needs(self) -> tuple[str, ...]:
        """Inputs besides the sequences."""
        graph = ("graph",) if self.neighbourhood else ()
        return (*graph, *(self.floor.needs("fit") if self.floor is not None else ()))
