"""What the page reads from gallery.json, ingest.json and statistics.json."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, model_validator

from decorec.artifacts.schemas.ranks import History

__all__ = ["Gallery", "Losses"]


class Shown(BaseModel):
    """An item: its title, its cluster in each modality, and its picture as a data URI."""

    title: str
    clusters: dict[str, int]
    picture: str | None


class Entry(BaseModel):
    """A recommended item, with its score by the model and by each modality."""

    item: int
    score: float
    parts: dict[str, float]


class Recommended(BaseModel):
    """The place that one run gives the true next item of a user, and its first items, by treatment of the history."""

    rank: dict[History, float]
    top: dict[History, list[Entry]]


class User(BaseModel):
    """A user: the latest items, the number of all before the next one, the next one, and each run."""

    history: list[int]
    length: int
    target: int
    runs: dict[str, Recommended]


class Gallery(BaseModel):
    """Recommendations to some users: gallery.json."""

    users: list[User]
    items: dict[str, Shown]

    @model_validator(mode="after")
    def _items_are_described(self) -> Self:
        for user in self.users:
            shown = {entry.item for run in user.runs.values() for top in run.top.values() for entry in top}
            for item in sorted({*user.history, user.target, *shown}):
                if str(item) not in self.items:
                    raise ValueError(f"items: expected item {item} of the users, found no such item")
        return self


class Dropped(BaseModel):
    """Records that were dropped, by reason."""

    dropped: dict[str, int]


class Step(Dropped):
    """One pass of a filter."""

    step: str


class Losses(BaseModel):
    """What a step dropped: ingest.json or statistics.json."""

    interactions: Dropped | int | None = None
    items: Dropped | int | None = None
    filter: list[Step]
