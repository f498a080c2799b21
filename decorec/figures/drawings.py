"""One function per figure; each draws tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from decorec.config.training import STAGES
from decorec.figures.panels import COLOURS, Tables, bars, cycle, distinct, grid, plain_ticks, short_name, whole_numbers

__all__ = ["cold", "curves", "embedding", "fusion", "gradients", "modes", "pareto", "sensitivity", "single"]

MARKERS = ("o", "s", "^")
SYMBOLS = {
    "alpha": "alpha, the weight of the other modality",
    "tau": "tau, the temperature",
    "clusters": "the number of clusters per item and modality",
}
COSINES = {"cosine": "together", "cosine_apart": "each alone"}
NORMS = {"id_norm": "ids", "modal_norm": "modalities"}
RUNNING = 9
"""Measurements in a running mean."""


def curves(tables: Tables) -> Figure:
    import polars as pl

    table = tables["curves"]
    datasets, metrics = distinct(table, "dataset"), distinct(table, "metric")
    drawing, axes = grid(datasets, metrics)
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
                panel.plot(epoch, mean, color=colour, label=f"{short_name(str(run))}, {kind}")
                panel.fill_between(epoch, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
                best = line.filter(pl.col("best") > 0)
                panel.plot(best["epoch"].to_numpy() + 1, best["mean"], "o", color=colour, markersize=4)
            panel.set(title=str(dataset), xlabel="epoch", ylabel=f"validation {metric}")
            whole_numbers(panel)
            panel.legend()
    return drawing


def fusion(tables: Tables) -> Figure:
    table = tables["fusion"]
    metrics = ["Hit@10", "NDCG@10", "MRR@10"]
    datasets = distinct(table, "dataset")
    drawing, axes = grid(datasets, metrics, 3.0)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter(dataset=dataset, metric=metric)
            names = [short_name(run) for run in part["model"]]
            bars(axes[row][column], part, names, cycle(len(names)))
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def modes(tables: Tables) -> Figure:
    """The modes of the first run that has all of them, and intra of the runs that are trained for it."""
    import polars as pl

    table = tables["retrieval"]
    whole = distinct(table.filter(mode="cross"), "run")
    run = (whole or table["run"])[0]
    apart = (pl.col("mode") == "intra") & ~pl.col("run").is_in(whole)
    metrics, datasets = ["Hit@10", "NDCG@10"], distinct(table, "dataset")
    drawing, axes = grid(datasets, metrics)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter((pl.col("run") == run) | apart, dataset=dataset, metric=metric)
            scored = part.select("run", "mode").iter_rows()
            names = [mode if name == run else f"{short_name(name)}: {mode}" for name, mode in scored]
            bars(axes[row][column], part, names, cycle(len(part)))
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def single(tables: Tables) -> Figure:
    import polars as pl

    table = tables["retrieval"].filter(pl.col("mode").is_in(["text", "image"]))
    metrics, datasets = ["Hit@10", "NDCG@10"], distinct(table, "dataset")
    runs = distinct(table, "run")
    drawing, axes = grid(datasets, metrics, 3.2)
    for row, dataset in enumerate(datasets):
        for column, metric in enumerate(metrics):
            part = table.filter(dataset=dataset, metric=metric).sort("mode", maintain_order=True)
            names = [f"{mode}: {short_name(run)}" for run, mode in part.select("run", "mode").iter_rows()]
            colours = [COLOURS[runs.index(run) % len(COLOURS)] for run in part["run"]]
            bars(axes[row][column], part, names, colours)
            axes[row][column].set(title=f"{dataset}, {metric}")
    return drawing


def cold(tables: Tables) -> Figure:
    import polars as pl

    table = tables["coldstart"].filter(pl.col("improvement_percent").is_not_null())
    metrics, datasets = ["Hit@10", "NDCG@10"], distinct(tables["coldstart"], "dataset")
    drawing, axes = grid(datasets, metrics, 3.0)
    for row, dataset in enumerate(datasets):
        of_dataset = tables["coldstart"].filter(dataset=dataset)
        compared = distinct(of_dataset.filter(pl.col("difference").is_not_null()), "model")
        baseline = [short_name(run) for run in distinct(of_dataset, "model") if compared and run not in compared]
        for column, metric in enumerate(metrics):
            panel = axes[row][column]
            part = table.filter(dataset=dataset, metric=metric)
            runs, groups = distinct(part, "model"), distinct(part, "group")
            width = 0.8 / max(1, len(groups))
            for index, group in enumerate(groups):
                values = part.filter(group=group)["improvement_percent"].to_list()
                places = [place + (index - (len(groups) - 1) / 2) * width for place in range(len(runs))]
                panel.bar(places, values, width, color=COLOURS[index], label=f"{group} users")
            panel.axhline(0, color="#333333", linewidth=0.8)
            panel.set_xticks(range(len(runs)), [short_name(run) for run in runs], rotation=30, ha="right")
            panel.set(title=f"{dataset}, {metric}", ylabel=" ".join(["improvement over", *baseline, "(%)"]))
            panel.grid(axis="x", visible=False)
            if groups:
                panel.margins(y=0.35)  # room for the legend
                panel.legend(ncols=2)
            else:
                missing = "the baseline has 0 here" if compared else "the baseline was not run"
                panel.text(0.5, 0.5, missing, ha="center", va="center", transform=panel.transAxes)
    return drawing


def pareto(tables: Tables) -> Figure:
    """Quality and training time; the line connects runs for which no other run is both better and faster.

    A run is drawn if each of its trainings was measured.
    """
    import polars as pl
    from matplotlib.lines import Line2D

    training = pl.col("step").is_in(STAGES)
    measured = pl.when(pl.col("seconds").is_not_null().all()).then(pl.col("seconds").sum())
    seconds = tables["cost"].filter(training).group_by("dataset", "run").agg(measured)
    table = (
        tables["main"]
        .filter(metric="NDCG@10")
        .join(seconds, left_on=["dataset", "model"], right_on=["dataset", "run"], maintain_order="left")
    )
    datasets, runs = (distinct(tables["main"], name) for name in ("dataset", "model"))
    drawing, (axes,) = grid([0], datasets, 3.4)
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
            plain_ticks(panel.xaxis)
    marks = [_mark(runs, run) for run in runs]
    keys = [
        Line2D([], [], marker=marker, color=colour, linestyle="none", label=short_name(run))
        for run, (marker, colour) in zip(runs, marks, strict=True)
    ]
    columns = 3 * len(datasets)
    drawing.set_figheight(drawing.get_figheight() + 0.25 * -(-len(keys) // columns))
    drawing.legend(handles=keys, loc="outside lower center", ncols=columns)
    return drawing


def _mark(runs: list[str], run: str) -> tuple[str, str]:
    """Marker and colour of a run; different for all runs of a usual main table."""
    turn, colour = divmod(runs.index(run), len(COLOURS))
    return MARKERS[turn % len(MARKERS)], COLOURS[colour]


def gradients(tables: Tables) -> Figure:
    table = tables["gradients"]
    trained = table.select("dataset", "run").unique(maintain_order=True).rows()
    drawing, axes = grid(trained, [0, 1, 2])
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
        plain_ticks(panels[2].yaxis)
        panels[2].margins(y=0.25)
        panels[2].legend(ncols=2)
        for panel in panels:
            whole_numbers(panel)
    return drawing


def _leading(steps: list[int]) -> int:
    """Number of steps at the start without a gap."""
    return next((index for index, step in enumerate(steps) if step != index), len(steps))


def _trace(panel: Axes, part: pl.DataFrame, column: str, colour: str, name: str) -> None:
    """Measured values as a faint line, and their running mean."""
    steps, values = part["step"].to_numpy(), part[column]
    panel.plot(steps, values.to_numpy(), color=colour, alpha=0.25, linewidth=0.8)
    running = values.rolling_mean(RUNNING, min_samples=1, center=True)
    panel.plot(steps, running.to_numpy(), color=colour, linewidth=1.5, label=name)


def embedding(tables: Tables) -> Figure:
    """Items of the largest interests in colour, the others in grey."""
    import polars as pl

    table = tables["embedding"]
    datasets, runs = distinct(table, "dataset"), distinct(table, "run")
    drawing, axes = grid(datasets, runs, 3.4)
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
            panel.set(title=f"{dataset}, {short_name(run)}{measured}", xticks=[], yticks=[])
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
    return drawing


def sensitivity(knob: str) -> Callable[[Tables], Figure]:
    """Drawing of the table of sensitivity to ``knob``."""

    def draw(tables: Tables) -> Figure:
        table, metrics = tables[knob], ["Hit@10", "NDCG@10"]
        datasets = distinct(table, "dataset")
        drawing, axes = grid(datasets, metrics, 3.0)
        for row, dataset in enumerate(datasets):
            for panel, metric in zip(axes[row], metrics, strict=True):
                _swept(panel, table.filter(dataset=dataset, metric=metric), knob != "alpha")
                panel.set(title=f"{dataset}, {metric}", xlabel=SYMBOLS[knob], ylabel=metric)
        return drawing

    return draw


def _swept(panel: Axes, part: pl.DataFrame, logarithmic: bool) -> None:
    """One metric on one data set by the values of a knob, on validation and test items."""
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
    plain_ticks(panel.xaxis, value.tolist())
    panel.margins(y=0.3)  # room for the legend
    panel.legend(ncols=2)


def _reference(table: pl.DataFrame) -> list[str]:
    """The run that the others are tested against: the only one on test items without a p-value."""
    tested = table.filter(split="test")
    return tested.filter(tested["p_value"].is_null())["run"].unique().to_list()
