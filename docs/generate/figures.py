"""The charts of docs/performance.md, drawn from the tables of the pages that they belong to.

A chart names its cells by page, section, column and rows, so that chart and page show one number. The text is text, in
the colours of either scheme on a ground of its own, and a chart is as wide as a telephone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from docs.generate import REPOSITORY
from docs.generate.cells import Cell

__all__ = ["FIGURES", "drawn", "write"]

FOLDER = REPOSITORY / "docs/images"
WIDTH, EDGE, ROW, BAR = 316, 12, 38, 12
"""Pixels: of a chart, around it, from bar to bar, and the height of a bar."""
VALUE = 84
"""Pixels that are kept free behind the longest bar."""
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.note{fill:#555}"
    ".ground{fill:#fafafa;stroke:#ddd}.ours{fill:#3f51b5}.other{fill:#9a9a9a}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.note{fill:#bbb}.ground{fill:#22242c;stroke:#444}"
    ".ours{fill:#8c9eff}.other{fill:#8a8a8a}}"
)


@dataclass(frozen=True)
class Bar:
    """A row of a table, and what the bar is called; ``ours``: drawn in the colour of this project."""

    label: str
    row: str
    ours: bool = True


@dataclass(frozen=True)
class Figure:
    """One column of the tables of a section, with a title, what is better, and the unit behind each value.

    ``logarithmic``: the axis begins at a tenth of the power of ten below the least value.
    """

    title: str
    note: str
    page: str
    section: str
    column: str
    unit: str
    bars: tuple[Bar, ...]
    logarithmic: bool = False


CLOSED_FORMS = (
    Bar("EASE, 1,585 items", "ease"),
    Bar("content-EASE (gram)", "content-ease, side: gram"),
    Bar("content-EASE (additive)", "content-ease, side: additive"),
    Bar("content-EASE (prior)", "content-ease, side: prior"),
    Bar("EASE, 100 neighbours, 100,000 items", "ease, neighbours: 100, 100,000 items"),
)
FIGURES = {
    "epochs": Figure(
        "An epoch of training, Scientific",
        "seconds on one thread; less is better",
        "performance/training.md",
        "Peers",
        "seconds per epoch",
        " s",
        (
            Bar("SASRec", "SASRec, fp32"),
            Bar("DeCoRec, stage 1", "DeCoRec stage 1, fp32 (bf16)"),
            Bar("DeCoRec, stage 2", "DeCoRec stage 2, fp32 (bf16)"),
            Bar("RecBole, SASRec", "RecBole SASRec", ours=False),
        ),
    ),
    "filtering": Figure(
        "Filter and split, 10 million interactions",
        "seconds on the clock; less is better",
        "performance/data.md",
        "Filter and split",
        "clock",
        "",
        (
            Bar("decorec, ingest", "ingest"),
            Bar("decorec, split", "split"),
            Bar("RecBole, loading and filtering", "RecBole", ours=False),
        ),
    ),
    "crawl": Figure(
        "Crawl from a server on the same machine",
        "pictures a second in two rounds; more is better",
        "performance/acquisition.md",
        "Crawl beside img2dataset",
        "pictures/s",
        "",
        (
            Bar("decorec", "decorec"),
            Bar("img2dataset", "img2dataset", ours=False),
        ),
    ),
    "encoding": Figure(
        "Pictures into features, ViT-B-32",
        "processor time of one; less is better",
        "performance/acquisition.md",
        "Encoding beside clip-retrieval",
        "a picture",
        "",
        (
            Bar("decorec", "decorec"),
            Bar("clip-retrieval", "clip-retrieval", ours=False),
        ),
    ),
    "fit": Figure(
        "Fitting a closed form",
        "processor time, logarithmic; less is better",
        "performance/training.md",
        "Closed forms",
        "fit",
        "",
        CLOSED_FORMS,
        logarithmic=True,
    ),
    "score": Figure(
        "Ranking all items by a closed form",
        "a user, processor time, logarithmic",
        "performance/training.md",
        "Closed forms",
        "ranking a user",
        "",
        CLOSED_FORMS,
        logarithmic=True,
    ),
}
"""Name of the file -> chart."""


def write() -> None:
    """Write docs/images/*.svg."""
    FOLDER.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(drawn(figure), encoding="utf-8")


def drawn(figure: Figure) -> str:
    """The chart as SVG.

    Raises:
        ValueError: the page has no such section, row or column, or no number there.
    """
    found = [Cell(figure.page, figure.section, bar.row, figure.column) for bar in figure.bars]
    cells = [cell.text() for cell in found]
    lengths = _lengths([cell.number() for cell in found], figure.logarithmic)
    height = EDGE + 40 + ROW * len(cells)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{escape(figure.title)}: {escape(figure.note)}</title><style>{STYLE}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="4"/>',
        f'<text class="title" x="{EDGE}" y="{EDGE + 10}">{escape(figure.title)}</text>',
        f'<text class="note" x="{EDGE}" y="{EDGE + 26}">{escape(figure.note)}</text>',
    ]
    for number, (bar, cell, length) in enumerate(zip(figure.bars, cells, lengths, strict=True)):
        y = EDGE + 48 + ROW * number
        kind = "ours" if bar.ours else "other"
        lines += [
            f'<text x="{EDGE}" y="{y}">{escape(bar.label)}</text>',
            f'<rect class="{kind}" x="{EDGE}" y="{y + 5}" width="{length:.1f}" height="{BAR}" rx="1"/>',
            f'<text x="{EDGE + length + 6:.1f}" y="{y + 15}">{escape(cell + figure.unit)}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def _lengths(sizes: list[float], logarithmic: bool) -> list[float]:
    """Pixels of bars of these sizes."""
    if logarithmic:
        least = 10.0 ** (math.floor(math.log10(min(sizes))) - 1)
        sizes = [math.log10(size / least) for size in sizes]
    return [size / max(sizes) * (WIDTH - 2 * EDGE - VALUE) for size in sizes]
