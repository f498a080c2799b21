"""How times grow, docs/images/scaling.svg: panels of curves through all rows of tables of docs/performance/.

A panel names page, section and columns, so a row that is added to a table is a point more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from docs.generate import REPOSITORY
from docs.generate.cells import points
from docs.generate.figures import EDGE, STYLE, WIDTH

__all__ = ["FILE", "PANELS", "drawn", "write"]

FILE = REPOSITORY / "docs/images/scaling.svg"
LEFT, RIGHT = 60, WIDTH - 28
"""Pixels from the left edge to the axes and to where they end; half of the last number of an axis stands beyond."""
HEIGHT, LEGEND = 140, 17
"""Pixels: of the axes, and of a line of the legend."""
LINES = (
    ".axis{stroke:#999}.grid{stroke:#e4e4e4}.line{fill:none;stroke-width:2}.tick{font-size:11px}"
    ".c0{stroke:#3f51b5;color:#3f51b5}.c1{stroke:#b35900;color:#b35900}.c2{stroke:#00796b;color:#00796b}"
    ".c3{stroke:#8e3a8e;color:#8e3a8e}.mark{fill:currentColor;stroke-width:1}"
    "@media(prefers-color-scheme:dark){.axis{stroke:#777}.grid{stroke:#363943}.c0{stroke:#8c9eff;color:#8c9eff}"
    ".c1{stroke:#ffb26b;color:#ffb26b}.c2{stroke:#5fd0c0;color:#5fd0c0}.c3{stroke:#e59ae5;color:#e59ae5}}"
)
MARKS = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-4-4h8v8h-8z", "M0-5L5 0L0 5L-5 0z", "M0-5L5 4H-5z")
"""Circle, square, diamond and triangle: curves differ not by colour alone."""


@dataclass(frozen=True)
class Curve:
    """A column of the tables of a section, and what it is called."""

    label: str
    section: str
    column: str


@dataclass(frozen=True)
class Panel:
    """Curves over one amount, the first column of their tables, in seconds of processor time.

    ``logarithmic``: both axes, from a power of ten to another; otherwise both from 0.
    """

    title: str
    note: str
    page: str
    amount: str
    curves: tuple[Curve, ...]
    logarithmic: bool = True

    @property
    def height(self) -> int:
        """Pixels, with what is kept free below."""
        return 40 + LEGEND * len(self.curves) + HEIGHT + 58


MILLION, PROCESSES = "A million items", "Several processes"
FILTERED = "Ingest and split by the number of interactions"
PANELS = (
    Panel(
        "A target, or a user, by the number of items",
        "processor time of one; both axes logarithmic",
        "performance/training.md",
        "items",
        (
            Curve("ranking of all items for a user", MILLION, "ranking, s per user"),
            Curve("target of DeCoRec, all items", MILLION, "all items, s per target"),
            Curve("target of DeCoRec, sampled negatives", MILLION, "sampled, s per target"),
            Curve("target of SASRec, sampled negatives", MILLION, "SASRec, sampled"),
        ),
    ),
    Panel(
        "Steps by the number of interactions",
        "processor time; both axes logarithmic",
        "performance/data.md",
        "interactions",
        (
            Curve("ingest", FILTERED, "ingest"),
            Curve("split", FILTERED, "split"),
            Curve("co-occurrence", "By the number of interactions", "co-occurrence"),
        ),
    ),
    Panel(
        "A training step by the number of processes",
        "processor time, all processes together",
        "performance/training.md",
        "processes",
        (
            Curve("DeCoRec, stage 1", PROCESSES, "stage 1, processor time"),
            Curve("SASRec", PROCESSES, "SASRec, processor time"),
        ),
        logarithmic=False,
    ),
)


def write() -> None:
    """Write the chart."""
    FILE.write_text(drawn(), encoding="utf-8")


def drawn(panels: tuple[Panel, ...] = PANELS) -> str:
    """The chart as SVG, its panels one below the other: as wide as a telephone.

    Raises:
        ValueError: a page has fewer than two rows of a curve.
    """
    height = EDGE + sum(panel.height for panel in panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title><style>{STYLE}{LINES}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="4"/>',
    ]
    top = EDGE
    for panel in panels:
        lines += [f'<g transform="translate(0 {top})">', *_panel(panel), "</g>"]
        top += panel.height
    return "\n".join([*lines, "</svg>\n"])


def _panel(panel: Panel) -> list[str]:
    found = [points(panel.page, curve.section, panel.amount, curve.column) for curve in panel.curves]
    top = 40 + LEGEND * len(panel.curves)
    bottom = top + HEIGHT
    all_x, all_y = [x for curve in found for x, _ in curve], [y for curve in found for _, y in curve]
    across, amounts = _powers(all_x) if panel.logarithmic else _from_zero(all_x, 1.0)
    up, times = _powers(all_y) if panel.logarithmic else _from_zero(all_y, 0.0)

    def x_of(amount: float) -> float:
        return LEFT + across(amount) * (RIGHT - LEFT)

    def y_of(seconds: float) -> float:
        return bottom - up(seconds) * HEIGHT

    lines = [
        f'<text class="title" x="{EDGE}" y="10">{escape(panel.title)}</text>',
        f'<text class="note" x="{EDGE}" y="26">{escape(panel.note)}</text>',
    ]
    for tick in times:
        y = y_of(tick)
        lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        lines.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{_time(tick)}</text>')
    for tick in amounts:
        x = x_of(tick)
        lines.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        lines.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{_amount(tick)}</text>')
    middle = (LEFT + RIGHT) / 2
    lines.append(f'<path class="axis" fill="none" d="M{LEFT} {top}V{bottom}H{RIGHT}"/>')
    lines.append(f'<text class="note" text-anchor="middle" x="{middle}" y="{bottom + 32}">{panel.amount}</text>')
    for number, (curve, row) in enumerate(zip(panel.curves, found, strict=True)):
        places = [(x_of(x), y_of(y)) for x, y in row]
        y = 40 + LEGEND * number
        lines.append(
            f'<g class="c{number}"><path class="mark" transform="translate({EDGE + 5} {y})" d="{MARKS[number]}"/>'
        )
        lines.append(f'<path class="line" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
        lines += [f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{MARKS[number]}"/>' for x, y in places]
        lines.append(f'</g><text x="{EDGE + 16}" y="{y + 4}">{escape(curve.label)}</text>')
    return lines


def _powers(values: list[float]) -> tuple[Callable[[float], float], list[float]]:
    """A logarithmic axis: value -> share of its length; and its numbers, powers of ten."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return lambda value: (math.log10(value) - low) / (high - low), [10.0**power for power in range(low, high + 1)]


def _from_zero(values: list[float], least: float) -> tuple[Callable[[float], float], list[float]]:
    """A linear axis from 0, likewise: its numbers are 1, 2 or 5 times a power of ten apart, and ``least``."""
    power = 10.0 ** math.floor(math.log10(max(values)))
    step = next(step for step in (power / 5, power / 2, power, 2 * power) if max(values) <= 5 * step)
    step = max(step, least)
    last = math.ceil(max(values) / step)
    return lambda value: value / (last * step), [number * step for number in range(last + 1)]


def _amount(number: float) -> str:
    """1,000, 10 k in place of 10,000, 1 M for a million."""
    for size, letter in ((1e6, " M"), (1e4, " k")):
        if number >= size:
            return f"{number / (1e3 if letter == ' k' else size):,g}{letter}"
    return f"{number:,g}"


def _time(seconds: float) -> str:
    """With the unit that needs the fewest zeros."""
    return f"{seconds:,.3g} s" if seconds >= 0.1 or seconds == 0 else f"{seconds * 1e3:,.3g} ms"
