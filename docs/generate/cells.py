"""Reads numbers from the tables of the pages, so that a chart or a calculation and its page show one number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from docs.generate import REPOSITORY

__all__ = ["SECONDS", "Cell", "points"]

SECONDS = {"s": 1.0, "ms": 1e-3, "ns": 1e-9}
"""Units of time."""


@dataclass(frozen=True)
class Cell:
    """A cell of a page under docs/, found by section, column and row (the text of its first cell)."""

    page: str
    section: str
    row: str
    column: str

    def text(self) -> str:
        """What stands there, without marks and without what is in brackets.

        Raises:
            ValueError: the page has no such section, row or column, or no number there.
        """
        for header, *rows in _tables((REPOSITORY / "docs" / self.page).read_text(encoding="utf-8"), self.section):
            for row in rows:
                if row[0] == self.row and self.column in header:
                    found = re.sub(r" *\(.*?\)", "", row[header.index(self.column)])
                    if re.match(r"\d", found):
                        return found
        raise ValueError(f"{self.page}: {self.section}: expected a number in {self.row!r}, {self.column!r}, found none")

    def number(self) -> float:
        """The mean of the numbers that stand there, such as ``768, 735``, or ``1.54 GB, 2.85 times the data``: 1.54.

        Of parts with a unit the first one counts.
        """
        parts = [part.replace(",", "").split() for part in self.text().split(", ")]
        if len(parts[0]) > 1:
            parts = parts[:1]
        numbers = [float(part[0]) for part in parts]
        return sum(numbers) / len(numbers)

    @property
    def anchor(self) -> str:
        """Page and section, as a link from another page of docs/."""
        return f"{self.page}#{re.sub(r'[^a-z0-9- ]', '', self.section.lower()).replace(' ', '-')}"


def points(page: str, section: str, amount: str, column: str) -> list[tuple[float, float]]:
    """Amount and seconds of every row that has both, the least amount first; of all tables with these columns.

    A time without a unit is in seconds.

    Raises:
        ValueError: the section has fewer than two such rows.
    """
    found = []
    for header, *rows in _tables((REPOSITORY / "docs" / page).read_text(encoding="utf-8"), section):
        if {amount, column} <= set(header):
            for row in rows:
                x, y = (row[header.index(name)].split() for name in (amount, column))
                if x and y:
                    unit = SECONDS[y[1]] if y[1:] else 1.0
                    found.append((float(x[0].replace(",", "")), float(y[0].replace(",", "")) * unit))
    if len(found) < 2:
        raise ValueError(f"{page}: {section}: expected two rows with {amount!r} and {column!r}, found {len(found)}")
    return sorted(found)


def _tables(text: str, section: str) -> Iterator[list[list[str]]]:
    """The tables of a section, as rows of cells without marks; the first row is the header."""
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE):
        if part.split("\n", 1)[0] == section:
            for table in re.findall(r"(?:^\|.*\n?)+", part, re.MULTILINE):
                rows = [
                    [re.sub(r"[*`]", "", cell).strip() for cell in line.strip().strip("|").split("|")]
                    for line in table.splitlines()
                ]
                yield [rows[0], *rows[2:]]
