"""What the server reads and answers, and the limits on its size."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from decorec.config.recommend import Exclude, Fallback
from decorec.recommend.histories import LAST
from decorec.recommend.trained import Reason

__all__ = [
    "MOST_BYTES",
    "Because",
    "Cluster",
    "Health",
    "Lists",
    "Problem",
    "Product",
    "Products",
    "Recommend",
    "Recommended",
    "Similar",
]

MOST_BYTES = 1 << 20
"""Of a request's body."""
MOST_HISTORY = 1_000
MOST_K = 1_000
MOST_IDS = 10_000
LONGEST_ID = 256

Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_ID)]
"""Blanks around an id do not count, as in the files of a shop."""
K = Annotated[int, Field(ge=1, le=MOST_K)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Recommend(_Asked):
    """A history, and which items may be recommended after it."""

    history: list[Id] = Field(max_length=MOST_HISTORY)
    """All that the customer bought, oldest first. Items that the model does not know are passed over."""
    k: K = 12
    """Number of items, or all candidates, if there are fewer."""
    exclude: Exclude = "bought"
    """bought: no item of the history; nothing: these are candidates as well."""
    exclude_items: list[Id] = Field([], max_length=MOST_IDS)
    """Items that are no candidates either."""
    only: list[Id] | None = Field(None, max_length=MOST_IDS)
    """The only candidates; null: all items of the model."""
    category: str | None = Field(None, min_length=1, max_length=LONGEST_ID)
    """Only items of this category, as the catalogue has it."""
    fallback: Fallback = "popular"
    """popular: the items with the most training interactions, where the model knows no item of the history; none: no
    item."""
    times: list[Annotated[int, Field(ge=0, le=LAST)]] | None = Field(None, max_length=MOST_HISTORY)
    """Time stamp of each item of the history in seconds, in order, for models that read them."""
    explain: bool = False
    """Whether the nearest item of the history is named for each recommendation."""
    parts: bool = False
    """Whether each recommendation says what its score is made of. The history is then scored by itself once more."""
    clusters: bool = False
    """Whether each recommendation says which clusters it is in."""

    @model_validator(mode="after")
    def _times_belong_to_items(self) -> Self:
        if self.times is not None and len(self.times) != len(self.history):
            raise ValueError(f"times: expected one for each of {len(self.history)} items, found {len(self.times)}")
        if self.times is not None and self.times != sorted(self.times):
            raise ValueError("times: expected the oldest first, found one behind a later one")
        return self


class Similar(_Asked):
    """An item."""

    item: Id
    k: K = 12
    """Number of other items, or all, if there are fewer."""


class _Answered(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Because(_Answered):
    """The item of the history that is nearest to a recommended one."""

    item: str
    title: str | None = None
    cosine: float
    """Of the two items' vectors, in the mean over the modalities."""


class Cluster(_Answered):
    """A cluster of items that the model takes for one interest."""

    modality: str
    """What the items are alike in, such as text or image."""
    items: int
    """Number of items in it."""
    words: list[str]
    """Up to three that stand in more of its items' texts than elsewhere; none without a catalogue."""
    bought: list[str]
    """Items of the history that are in it, the newest first; not the recommended one itself."""


class Product(_Answered):
    """An item, as the catalogue describes it."""

    item: str
    title: str | None = None
    picture: str | None = None
    """Where the server has its picture."""
    known: bool = True
    """Whether the model knows it."""


class Recommended(Product):
    """One item of a list."""

    score: float
    """What the list is ranked by: larger is better. Comparable within one list only."""
    reason: Reason
    """model: the model's score after the history; popular: the number of training interactions."""
    because: Because | None = None
    """Where it was asked for: the nearest item of the history; null for popular items, and for models without vectors
    of items."""
    modalities: dict[str, float] = {}
    """Where parts were asked for: modality -> share of the model's score that the history in this modality gives. Empty
    for popular items, new ones, and models other than DeCoRec."""
    parts: dict[str, float] = {}
    """The same score by what the item has: text, image or another modality; ids: what is learned of it alone;
    interests: its clusters; floor, neighbourhood, repeats: the experts. In log-odds: exp of one is how many times as
    likely it makes the item as it makes a product that is average there, and exp of their sum is so for all together.
    Between two items of a list the sums differ as the logarithms of the scores do, or as the scores, where these are
    logarithms (with experts, with added items, scoring: logits)."""
    clusters: list[Cluster] = []
    """Where they were asked for; empty for new items, and for models without interests."""


class Products(_Answered):
    """Items that were found."""

    items: list[Product]


class Lists(_Answered):
    """Recommended or similar items, best first."""

    items: list[Recommended]


class Health(_Answered):
    """The model that answers."""

    status: str = "ok"
    model: str
    stage: str
    seed: int
    items: int
    """Number of items that the model knows."""
    vectors: bool
    """Whether it has a vector for each item."""
    weights: str
    """sha256 of model.safetensors."""
    loaded: str
    """When it was loaded (ISO 8601, UTC)."""
    reload_error: str | None = None
    """Why files that were written since could not be loaded."""


class Problem(_Answered):
    """Why a request was refused."""

    detail: list[str]
