"""Step figure: one drawing from the tidy tables, as svg and pdf with the same bytes for the same tables.

The plan of the workflow reads ``FIGURES``: what draws is imported where it draws.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from decorec.errors import DecorecError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Drawing", "figure"]

Tables: TypeAlias = "Mapping[str, pl.DataFrame]"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#000000")
"""Told apart with any kind of colour vision (Okabe and Ito)."""
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


@dataclass(frozen=True)
class Drawing:
    """A figure: the tables that it is drawn from, what it shows, and how."""

    tables: tuple[str, ...]
    caption: str
    draw: Callable[[Tables], Figure]


def _short(run: str) -> str:
    """The label of a run without what stands in brackets."""
    from decorec.tables.labels import label

    name = label(run).partition(" (")[0]
    return name if len(name) <= SHORT else name[: SHORT - 1] + "…"


def _panels(rows: list[Any], columns: list[Any], height: float = 2.6) -> tuple[Figure, list[list[Axes]]]:
    """A grid of axes, [rows][columns]."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(max(4.6, 3.6 * len(columns)), height * len(rows)), layout="constrained")
    axes: Any = drawing.subplots(len(rows), len(columns), squeeze=False)
    return drawing, axes.tolist()


def _names(table: pl.DataFrame, column: str) -> list[Any]:
    return table[column].unique(maintain_order=True).to_list()


def _bars(axes: Axes, table: pl.DataFrame, names: list[str], colours: list[str]) -> None:
    """One bar per row: mean, and its interval over users."""
    mean, low, high = (table[name].to_list() for name in ("mean", "ci_low", "ci_high"))
    errors = [
        [m - a for m, a in zip(mean, low, strict=True)],
        [b - m for m, b in zip(mean, high, strict=True)],
    ]
    axes.bar(range(len(mean)), mean, color=colours, yerr=errors, ecolor="#333333", capsize=2)
    axes.set_xticks(range(len(mean)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.grid(axis="x", visible=False)


def _curves(tables: Tables) -> Figure:
    import polars as pl

    table = tables["curves"]
    datasets, metrics = _names(table, "dataset"), _names(table, "metric")
    drawing, axes = _panels(datasets, metrics)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            panel = axes[row][column]
            for colour, ((run, stage), line) in zip(
                COLOURS,
                table.filter(dataset=dataset, metric=metric).group_by("run", "stage", maintain_order=True),
                strict=False,
            ):
                kind = "modalities alone" if stage == "stage1" else "ids alone"
                epoch, mean = line["epoch"].to_numpy() + 1, line["mean"].to_numpy()
                spread = line["std"].fill_null(0).to_numpy()
                panel.plot(epoch, mean, color=colour, label=f"{_short(str(run))}, {kind}")
                panel.fill_between(epoch, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
                best = line.filter(pl.col("best") > 0)
                panel.plot(best["epoch"].to_numpy() + 1, best["mean"], "o", color=colour, markersize=4)
            panel.set(title=str(dataset), xlabel="epoch", ylabel=f"validation {metric}")
            panel.legend()
    return drawing


def _fusion(tables: Tables) -> Figure:
    table = tables["fusion"]
    metrics = ["Hit@10", "NDCG@10", "MRR@10"]
    datasets = _names(table, "dataset")
    drawing, axes = _panels(datasets, metrics, 3.0)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter(dataset=dataset, metric=metric)
            names = [_short(run) for run in part["model"]]
            _bars(axes[row][column], part, names, _cycle(len(names)))
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _modes(tables: Tables) -> Figure:
    """Modes of the first run that has them all."""
    table = tables["retrieval"]
    run = table.filter(mode="cross")["run"][0] if "cross" in table["mode"] else table["run"][0]
    metrics, datasets = ["Hit@10", "NDCG@10"], _names(table, "dataset")
    drawing, axes = _panels(datasets, metrics)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter(dataset=dataset, metric=metric, run=run)
            _bars(axes[row][column], part, part["mode"].to_list(), _cycle(len(part)))
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def _single(tables: Tables) -> Figure:
    import polars as pl

    table = tables["retrieval"].filter(pl.col("mode").is_in(["text", "image"]))
    metrics, datasets = ["Hit@10", "NDCG@10"], _names(table, "dataset")
    runs = _names(table, "run")
    drawing, axes = _panels(datasets, metrics, 3.2)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter(dataset=dataset, metric=metric).sort("mode", maintain_order=True)
            names = [f"{mode}: {_short(run)}" for run, mode in part.select("run", "mode").iter_rows()]
            colours = [COLOURS[runs.index(run) % len(COLOURS)] for run in part["run"]]
            _bars(axes[row][column], part, names, colours)
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def _cold(tables: Tables) -> Figure:
    import polars as pl

    table = tables["coldstart"].filter(pl.col("improvement_percent").is_not_null())
    metrics, datasets = ["Hit@10", "NDCG@10"], _names(tables["coldstart"], "dataset")
    drawing, axes = _panels(datasets, metrics, 3.0)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            panel = axes[row][column]
            part = table.filter(dataset=dataset, metric=metric)
            runs, groups = _names(part, "model"), _names(part, "group")
            width = 0.8 / max(1, len(groups))
            for index, group in enumerate(groups):
                values = part.filter(group=group)["improvement_percent"].to_list()
                places = [place + (index - (len(groups) - 1) / 2) * width for place in range(len(runs))]
                panel.bar(places, values, width, color=COLOURS[index], label=f"{group} users")
            panel.axhline(0, color="#333333", linewidth=0.8)
            panel.set_xticks(range(len(runs)), [_short(run) for run in runs], rotation=30, ha="right")
            panel.set(title=f"{dataset}, {metric}", ylabel="improvement (%)")
            panel.grid(axis="x", visible=False)
            if groups:
                panel.margins(y=0.35)  # room for the legend
                panel.legend(ncols=2)
            else:
                panel.text(0.5, 0.5, "the baseline was not run", ha="center", va="center", transform=panel.transAxes)
    return drawing


def _pareto(tables: Tables) -> Figure:
    """Quality against training seconds; the line joins runs that no other beats in both."""
    import polars as pl
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    training = pl.col("step").is_in(["stage1", "stage2", "fit"])
    seconds = tables["cost"].filter(training).group_by("dataset", "run").agg(pl.col("seconds").sum())
    table = (
        tables["main"]
        .filter(metric="NDCG@10")
        .join(seconds, left_on=["dataset", "model"], right_on=["dataset", "run"], maintain_order="left")
    )
    datasets, runs = (_names(tables["main"], name) for name in ("dataset", "model"))
    drawing, (axes,) = _panels([0], datasets, 3.4)
    for panel, dataset in zip(axes, datasets, strict=True):
        part = table.filter((pl.col("dataset") == dataset) & (pl.col("seconds") > 0)).sort("seconds")
        for run, mean, time in part.select("model", "mean", "seconds").iter_rows():
            colour = COLOURS[runs.index(run) % len(COLOURS)]
            panel.plot(time, mean, "o", color=colour, label=_short(run))
        front = part.filter(pl.col("mean") >= pl.col("mean").cum_max())
        panel.plot(front["seconds"], front["mean"], color="#999999", linewidth=1, zorder=0)
        panel.set(title=str(dataset), xlabel="training seconds of one seed", ylabel="NDCG@10")
        if len(part):
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.legend()
    return drawing


FIGURES: dict[str, Drawing] = {
    "fig2": Drawing(
        ("curves",),
        "Validation by epoch: training on ids alone and on modalities alone (figure 2 of the paper). Mean over the "
        "seeds that reached the epoch, band: standard deviation, dots: best epochs.",
        _curves,
    ),
    "fig4": Drawing(
        ("fusion",),
        "Ids, modalities and naive fusion (figure 4 of the paper). Whiskers: bootstrap interval over users.",
        _fusion,
    ),
    "fig7": Drawing(
        ("retrieval",),
        "One trained model scored by image, by text, by both apart and by both across (figure 7 of the paper). "
        "Whiskers: bootstrap interval over users.",
        _modes,
    ),
    "fig8": Drawing(
        ("retrieval",),
        "Scoring by one modality, with and without the other one in training (figure 8 of the paper). Whiskers: "
        "bootstrap interval over users.",
        _single,
    ),
    "fig9": Drawing(("coldstart",), "Improvement over the baseline, by user group (figure 9 of the paper).", _cold),
    "pareto": Drawing(("main", "cost"), "Quality against training time; the line joins what nothing beats.", _pareto),
}
"""Name -> figure. A new one is one function and one entry here."""


def _read(file: Path) -> pl.DataFrame:
    """A tidy table; a column without any value is one of numbers (such as the deviation over a single seed)."""
    import polars as pl

    table = pl.read_csv(file, infer_schema_length=None)
    empty = [name for name in table.columns if table[name].is_null().all()]
    return table.with_columns(pl.col(empty).cast(pl.Float64))


def figure(*, name: str, tables: list[Path], svg: Path, pdf: Path) -> None:
    """Draw the figure ``name`` from its tables (NAME.csv each).

    Raises:
        DecorecError: no such figure, or a table that it needs is missing.
    """
    import matplotlib

    from decorec.artifacts import atomic_path

    if name not in FIGURES:
        raise DecorecError(f"figure {name!r}: expected one of {', '.join(FIGURES)}; correct the name")
    drawing = FIGURES[name]
    files = {file.stem: file for file in tables}
    for needed in drawing.tables:
        if needed not in files or not files[needed].is_file():
            raise DecorecError(f"figure {name}: expected the table {needed}.csv, found none; pass it to --tables")
    read = {needed: _read(files[needed]) for needed in drawing.tables}
    settings: Any = dict(matplotlib.rcParamsDefault) | STYLE | {"svg.hashsalt": name, "backend": "agg"}
    with matplotlib.rc_context(settings):
        drawn = drawing.draw(read)
        with atomic_path(svg) as temporary:
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            drawn.savefig(temporary, format="svg", metadata=nothing)
        with atomic_path(pdf) as temporary:
            drawn.savefig(temporary, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
    logging.getLogger("decorec").info("%s", svg)
