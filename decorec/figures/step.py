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
MARKERS = ("o", "s", "^")
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
SYMBOLS = {
    "alpha": "alpha, the weight of the other modality",
    "tau": "tau, the temperature",
    "clusters": "the number of clusters per item and modality",
}
SWEPT = (
    "DeCoRec with other values of this one, everything else as it is; the ring is its own value. Values are chosen on "
    "validation; test is for looking on. Mean over the seeds of the table, whiskers: standard deviation over them, "
    "band: bootstrap interval over users (test)."
)
"""What the captions of the figures of sensitivity have in common."""
COSINES = {"cosine": "together", "cosine_apart": "each alone"}
NORMS = {"id_norm": "ids", "modal_norm": "modalities"}
RUNNING = 9
"""Measurements in a running mean."""
SHORT = 24
"""Longest name in a drawing."""


@dataclass(frozen=True)
class Drawing:
    """A figure: the tables that it is drawn from, what it shows, and how."""

    tables: tuple[str, ...]
    caption: str
    draw: Callable[[Tables], Figure]


def _short(run: str) -> str:
    """The short label of a run, cut where it is still long."""
    from decorec.tables.labels import short

    name = short(run)
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
            _whole_numbers(panel)
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
        compared = _names(table.filter(dataset=dataset), "model")
        every = _names(tables["coldstart"].filter(dataset=dataset), "model")
        baseline = [_short(run) for run in every if compared and run not in compared]
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
            panel.set(title=f"{dataset}, {metric}", ylabel=" ".join(["improvement over", *baseline, "(%)"]))
            panel.grid(axis="x", visible=False)
            if groups:
                panel.margins(y=0.35)  # room for the legend
                panel.legend(ncols=2)
            else:
                panel.text(0.5, 0.5, "the baseline was not run", ha="center", va="center", transform=panel.transAxes)
    return drawing


def _plain_ticks(axis: Any, values: list[float] | None = None) -> None:
    """Few plain numbers along an axis: ``values``, or those that suit a logarithmic one."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if values is None else FixedLocator(values))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _pareto(tables: Tables) -> Figure:
    """Quality against training seconds; the line joins runs that no other beats in both."""
    import polars as pl
    from matplotlib.lines import Line2D

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
            marker, colour = _mark(runs, run)
            panel.plot(time, mean, marker, color=colour)
        front = part.filter(pl.col("mean") >= pl.col("mean").cum_max())
        panel.plot(front["seconds"], front["mean"], color="#999999", linewidth=1, zorder=0)
        panel.set(title=str(dataset), xlabel="training seconds of one seed", ylabel="NDCG@10")
        if len(part):
            panel.set_xscale("log")
            _plain_ticks(panel.xaxis)
    marks = [_mark(runs, run) for run in runs]
    keys = [
        Line2D([], [], marker=marker, color=colour, linestyle="none", label=_short(run))
        for run, (marker, colour) in zip(runs, marks, strict=True)
    ]
    columns = 3 * len(datasets)
    drawing.set_figheight(drawing.get_figheight() + 0.25 * -(-len(keys) // columns))
    drawing.legend(handles=keys, loc="outside lower center", ncols=columns)
    return drawing


def _mark(runs: list[str], run: str) -> tuple[str, str]:
    """Marker and colour of a run: as many runs as stand in a main table can be told apart."""
    turn, colour = divmod(runs.index(run), len(COLOURS))
    return MARKERS[turn % len(MARKERS)], COLOURS[colour]


def _gradients(tables: Tables) -> Figure:
    table = tables["gradients"]
    trained = table.select("dataset", "run").unique(maintain_order=True).rows()
    drawing, axes = _panels(trained, [0, 1, 2])
    for panels, (dataset, run) in zip(axes, trained, strict=True):
        whole = table.filter(dataset=dataset, run=run)
        first = whole.head(max(2, _leading(whole["step"].to_list())))
        for panel, part, title in zip(panels, (first, whole), ("first steps", "whole training"), strict=False):
            for colour, (column, name) in zip(COLOURS, COSINES.items(), strict=False):
                _trace(panel, part, column, colour, name)
            panel.axhline(0, color="#333333", linewidth=0.8)
            panel.set(title=f"{dataset}, {title}", xlabel="training step", ylabel="cosine of ids and modalities")
            panel.margins(y=0.25)  # room for the legend
            panel.legend(ncols=2)
        for colour, (column, name) in zip(COLOURS[2:], NORMS.items(), strict=False):
            _trace(panels[2], whole, column, colour, name)
        panels[2].set(title=f"{dataset}, norms", xlabel="training step", ylabel="norm of the gradient", yscale="log")
        _plain_ticks(panels[2].yaxis)
        panels[2].margins(y=0.25)
        panels[2].legend(ncols=2)
        for panel in panels:
            _whole_numbers(panel)
    return drawing


def _whole_numbers(panel: Axes) -> None:
    """No ticks between two steps or epochs."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _leading(steps: list[int]) -> int:
    """How many steps at the start follow each other without a gap."""
    return next((index for index, step in enumerate(steps) if step != index), len(steps))


def _trace(panel: Axes, part: pl.DataFrame, column: str, colour: str, name: str) -> None:
    """Measured values as a faint line, and their running mean."""
    steps, values = part["step"].to_numpy(), part[column]
    panel.plot(steps, values.to_numpy(), color=colour, alpha=0.25, linewidth=0.8)
    running = values.rolling_mean(RUNNING, min_samples=1, center=True)
    panel.plot(steps, running.to_numpy(), color=colour, linewidth=1.5, label=name)


def _embedding(tables: Tables) -> Figure:
    """Items of the largest interests in colour, the others grey."""
    import polars as pl

    table = tables["embedding"]
    datasets, runs = _names(table, "dataset"), _names(table, "run")
    drawing, axes = _panels(datasets, runs, 3.4)
    for row, dataset in enumerate(datasets):
        sizes = table.filter(dataset=dataset).select("interest", "size").unique()
        largest = sizes.sort("size", "interest", descending=[True, False])["interest"].head(len(COLOURS) - 2)
        for panel, run in zip(axes[row], runs, strict=True):
            part = table.filter(dataset=dataset, run=run)
            rest = part.filter(~pl.col("interest").is_in(largest.to_list()))
            panel.plot(rest["x"], rest["y"], "o", color="#cccccc", markersize=3, markeredgewidth=0)
            for colour, interest in zip(COLOURS, largest, strict=False):
                chosen = part.filter(interest=interest)
                panel.plot(chosen["x"], chosen["y"], "o", color=colour, markersize=4, markeredgewidth=0)
            silhouette: Any = part["silhouette"].first()
            measured = "" if silhouette is None else f"\nsilhouette of the interests {silhouette:.3f}"
            panel.set(title=f"{dataset}, {_short(run)}{measured}", xticks=[], yticks=[])
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
    return drawing


def _sensitivity(knob: str) -> Callable[[Tables], Figure]:
    """Drawing of the table of sensitivity to ``knob``."""

    def draw(tables: Tables) -> Figure:
        table, metrics = tables[knob], ["Hit@10", "NDCG@10"]
        datasets = _names(table, "dataset")
        drawing, axes = _panels(datasets, metrics, 3.0)
        for row, dataset in enumerate(datasets):
            for panel, metric in zip(axes[row], metrics, strict=True):
                _swept(panel, table.filter(dataset=dataset, metric=metric), knob != "alpha")
                panel.set(title=f"{dataset}, {metric}", xlabel=SYMBOLS[knob], ylabel=metric)
        return drawing

    return draw


def _swept(panel: Axes, part: pl.DataFrame, logarithmic: bool) -> None:
    """One metric on one data set against the values of a knob, on validation and on test."""
    for colour, (split, (name, style)) in zip(
        COLOURS, {"valid": ("validation", "o--"), "test": ("test", "o-")}.items(), strict=False
    ):
        line = part.filter(split=split).sort("value")
        value, mean = line["value"].to_numpy(), line["mean"].to_numpy()
        spread = line["std"].fill_null(0).to_numpy()
        panel.errorbar(value, mean, yerr=spread, fmt=style, color=colour, markersize=3, capsize=2, label=name)
        own = line.filter(line["run"].is_in(_reference(part)))
        panel.plot(own["value"], own["mean"], "o", markersize=9, markerfacecolor="none", color=colour)
    low, high = line["ci_low"].to_numpy(), line["ci_high"].to_numpy()
    panel.fill_between(value, low, high, color=colour, alpha=0.15, linewidth=0)
    if logarithmic:
        panel.set_xscale("log")
    _plain_ticks(panel.xaxis, value.tolist())
    panel.margins(y=0.3)  # room for the legend
    panel.legend(ncols=2)


def _reference(table: pl.DataFrame) -> list[str]:
    """The run that the others were tested against: the only one on test without a p."""
    tested = table.filter(split="test")
    return tested.filter(tested["p_value"].is_null())["run"].unique().to_list()


FIGURES: dict[str, Drawing] = {
    "fig2": Drawing(
        ("curves",),
        "Validation by epoch: training on ids alone and on modalities alone (figure 2 of the paper). Mean over the "
        "seeds that reached the epoch, band: standard deviation, dots: best epochs.",
        _curves,
    ),
    "fig3": Drawing(
        ("gradients",),
        "Gradients of ids and modalities in joint training (figure 3 of the paper), training items, first seed. "
        "Together: cosine of what a step on the ids and a step on the adapters would do to the representations of the "
        "items. Each alone: cosine of the gradients at items that are ids only and at items that are modalities only. "
        "Right: norms of the gradients of both parts' parameters, before clipping. Strong lines: running means over 9 "
        "measured steps.",
        _gradients,
    ),
    "fig4": Drawing(
        ("fusion",),
        "Ids, modalities and naive fusion (figure 4 of the paper), test items, all seeds. Whiskers: bootstrap interval "
        "over users.",
        _fusion,
    ),
    "fig6": Drawing(
        ("embedding",),
        "Representations of the items after training, t-SNE by cosine distance, without and with interest embeddings "
        "(figure 6 of the paper); first seed, at most 1,000 items per data set. Colour: the six largest interests by "
        "text, grey: all others. Silhouette: of all interests in the representation itself.",
        _embedding,
    ),
    "fig7": Drawing(
        ("retrieval",),
        "One trained model scored by image, by text, by both apart and by both across (figure 7 of the paper), test "
        "items, all seeds. Whiskers: bootstrap interval over users.",
        _modes,
    ),
    "fig8": Drawing(
        ("retrieval",),
        "Scoring by one modality, with and without the other one in training (figure 8 of the paper), test items, all "
        "seeds. Whiskers: bootstrap interval over users.",
        _single,
    ),
    "fig9": Drawing(
        ("coldstart",),
        "Improvement over the baseline, by user group (figure 9 of the paper), test items, all seeds.",
        _cold,
    ),
    **{knob: Drawing((knob,), f"Sensitivity to {name}. {SWEPT}", _sensitivity(knob)) for knob, name in SYMBOLS.items()},
    "pareto": Drawing(
        ("main", "cost"),
        "Quality (test items, all seeds) against training time (of one seed); the line joins what nothing beats.",
        _pareto,
    ),
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

    from decorec.artifacts.files import atomic_path

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
