"""Which picture addresses to fetch for an item: the next one only when the one before has failed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import polars as pl

from decorec.acquire.addresses import without_passwords
from decorec.acquire.crawl.outcome import Outcome
from decorec.artifacts.schemas.images import IMAGES

__all__ = ["PLACEHOLDER", "Frontier"]

PLACEHOLDER = 5
"""A file that this many items share is taken for a placeholder ("no picture available")."""


class Frontier:
    """Items with their picture addresses in order of preference, and the outcomes so far.

    An address that several items share is fetched once. Which addresses are fetched depends on the outcomes alone, not
    on the order in which they arrive.
    """

    def __init__(self, items: Sequence[str], addresses: Sequence[Sequence[str]]) -> None:
        """``addresses[i]`` are those of ``items[i]``; an address that an item repeats counts once."""
        self._items = list(items)
        self._addresses = [list(dict.fromkeys(row)) for row in addresses]
        self._position = [0] * len(items)
        self._waiting: defaultdict[str, list[int]] = defaultdict(list)
        self._outcomes: dict[str, Outcome] = {}
        self.settled = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def addresses(self) -> set[str]:
        """All addresses that may be fetched."""
        return {address for row in self._addresses for address in row}

    def start(self, known: dict[str, Outcome]) -> Iterator[str]:
        """Enter the ``known`` outcomes and yield the addresses to fetch first."""
        self._outcomes.update(known)
        for index in range(len(self._items)):
            yield from self._advance(index)

    def record(self, address: str, outcome: Outcome) -> Iterator[str]:
        """Enter an outcome and yield the addresses to fetch next because of it."""
        self._outcomes[address] = outcome
        for index in self._waiting.pop(address):
            yield from self._advance(index)

    def _advance(self, index: int) -> Iterator[str]:
        row = self._addresses[index]
        while self._position[index] < len(row):
            address = row[self._position[index]]
            outcome = self._outcomes.get(address)
            if outcome is None:
                waiting = self._waiting[address]
                waiting.append(index)
                if len(waiting) == 1:
                    yield address
                return
            if outcome.status == "ok":
                break
            self._position[index] += 1
        self.settled += 1

    def rows(self) -> Iterator[tuple[str, str, Outcome]]:
        """(item, address, outcome) of every address fetched, in the order of items and their addresses."""
        for item, row in zip(self._items, self._addresses, strict=True):
            for address in row:
                outcome = self._outcomes.get(address)
                if outcome is None:
                    break
                yield item, address, outcome
                if outcome.status == "ok":
                    break

    def table(self) -> pl.DataFrame:
        """The rows as images.parquet has them; the addresses are without users and passwords."""
        rows = list(self.rows())
        sharing = Counter(outcome.sha256 for _, _, outcome in rows if outcome.status == "ok")
        return pl.DataFrame(
            [
                (
                    item,
                    without_passwords(address),
                    outcome.status,
                    outcome.http_status,
                    outcome.error,
                    outcome.attempts,
                    outcome.sha256,
                    outcome.width,
                    outcome.height,
                    outcome.bytes,
                    outcome.status == "ok" and sharing[outcome.sha256] >= PLACEHOLDER,
                )
                for item, address, outcome in rows
            ],
            schema=IMAGES,
            orient="row",
        )
