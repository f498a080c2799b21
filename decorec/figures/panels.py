"""Shared parts of all figures: colours, axes, names and ticks. Libraries are imported when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "STYLE",
    "Tables",
    "bars",
    "cycle",
    "distinct",
    "grid",
    "plain_ticks",
    "short_name",
    "whole_numbers",
]

Tables: TypeAlias = "Mapping[str, pl.DataFrame]"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#000000")
"""Colours for all kinds of colour vision (Okabe and Ito)."""
STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.fonttype": "none",
}
SHORT = 24
"""Longest name in a drawing."""


def short_name(run: str) -> str:
    """The short label of a run, cut if it is too long."""
    from decorec.tables.labels import short

    name = short(run)
    return name if len(name) <= SHORT else name[: SHORT - 1] + "…"


def grid(rows: list[Any], columns: list[Any], height: float = 2.6) -> tuple[Figure, list[list[Axes]]]:
    """A grid of axes, [rows][columns]."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(max(4.6, 3.6 * len(columns)), height * len(rows)), layout="constrained")
    axes: Any = drawing.subplots(len(rows), len(columns), squeeze=False)
    return drawing, axes.tolist()


def distinct(table: pl.DataFrame, column: str) -> list[Any]:
    return table[column].unique(maintain_order=True).to_list()


def bars(axes: Axes, table: pl.DataFrame, names: list[str], colours: list[str]) -> None:
    """One bar per row: the mean, and its interval over users."""
    mean, low, high = (table[name].to_list() for name in ("mean", "ci_low", "ci_high"))
    errors = [
        [m - a for m, a in zip(mean, low, strict=True)],
        [b - m for m, b in zip(mean, high, strict=True)],
    ]
    axes.bar(range(len(mean)), mean, color=colours, yerr=errors, ecolor="#333333", capsize=2)
    axes.set_xticks(range(len(mean)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.grid(axis="x", visible=False)


def cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def plain_ticks(axis: Any, values: list[float] | None = None) -> None:
    """A few plain numbers on an axis: ``values``, or numbers that suit a logarithmic axis."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if values is None else FixedLocator(values))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def whole_numbers(panel: Axes) -> None:
    """No ticks between two steps or epochs."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
