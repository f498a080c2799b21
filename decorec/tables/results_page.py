"""Step results-page: docs/results.md; every value is computed from the files of steps or quoted from paper.yaml."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import RootModel

from decorec.artifacts import layout
from decorec.artifacts.files import read_csv, write_text
from decorec.artifacts.schemas.ranks import History
from decorec.config.evaluation import EvaluateConfig
from decorec.config.root import TunedDifference
from decorec.config.runs import flat
from decorec.errors import DecorecError
from decorec.evaluation.metrics import MAIN, REPORTED
from decorec.evaluation.significance import FLIPS, holm
from decorec.tables.beyond import decimals
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import PaperNames, label, note, paper_name
from decorec.tables.paper import Figures, paper_figure, released_figures
from decorec.tables.paper import paper as published
from decorec.tables.render import markdown_rows, percent
from decorec.tables.split_facts import population, read_split
from decorec.tables.statistics import read_statistics
from decorec.tables.summary import Effect, Summary, compare, paper_compatible, per_user, summarise_block

__all__ = ["ChosenValues", "results_page"]

COMPATIBLE = tuple(paper_compatible(metric) for metric in REPORTED)
Rows = dict[tuple[str, str], Summary]
"""(run, metric) -> summary, in one block."""
Effects = dict[str, list[Effect]]
"""Run -> a reference minus this run, in each reported metric."""
LEVEL = 0.05
GAIN = ("difference", "ci_low", "ci_high", "p_value")
LEAD = ("lead", "lead_low", "lead_high", "lead_p_value")
"""Columns of advantages.csv: to the model's own run, and of the first model to it."""
FEW = 3
"""Most runs that are named one by one."""


class ChosenValues(RootModel[dict[str, dict[str, TunedDifference]]]):
    """Data set -> run -> values that were chosen there on validation."""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _mean(row: Summary) -> str:
    return _number(row.mean) if row.std is None else f"{row.mean:.4f} ± {row.std:.4f}"


def _in_short(dataset: str, history: History, rows: Rows, effects: Mapping[str, Effects]) -> list[str]:
    """The order of the runs by NDCG@10, and whom each reference is ahead of and behind.

    Args:
        dataset: name of the data set.
        history: whether the items of the history are candidates.
        rows: summaries of this block.
        effects: reference -> run -> reference minus run.
    """
    means = {run: row.mean for (run, metric), row in rows.items() if metric == MAIN}
    runs = _ordered(means)
    parts = [_first(means)]
    hits = [f"{1000 * rows[run, 'Hit@10'].mean:.0f} with {label(run)}" for run in dict.fromkeys([*runs[:2], *effects])]
    parts.append(f"Of 1,000 users, the next item is among the first ten for {', '.join(hits)}.")
    for reference, against in effects.items():
        if not against:
            continue
        found = [(run, each[REPORTED.index(MAIN)]) for run, each in against.items()]
        told = _told([(run, effect.difference, effect.p_value) for run, effect in found])
        place = f"{rows[reference, MAIN].mean:.4f}, number {runs.index(reference) + 1}"
        parts.append(f"{label(reference)} ({place}) is {told}.")
    return [f"**{dataset}, history {history}:** {' '.join(parts)}", ""]


def _ordered(means: Mapping[str, float]) -> list[str]:
    """The runs, the best one first."""
    return sorted(means, key=lambda run: -means[run])


def _first(means: Mapping[str, float]) -> str:
    """Which run is the best, and which the second, as a sentence."""
    first, *others = [f"{label(run)} {means[run]:.4f}" for run in _ordered(means)]
    return f"by {MAIN}, {first} is the first of {len(means)}" + (f", before {others[0]}" if others else "") + "."


def _told(found: Sequence[tuple[str, float, float]]) -> str:
    """Whom a run is ahead of and behind.

    Args:
        found: each other run, the difference to it, and its p value.
    """
    groups: dict[str, list[str]] = {"ahead": [], "behind": [], "near": []}
    for (run, difference, _), sure in zip(found, holm([p for *_, p in found]) < LEVEL, strict=True):
        groups["near" if not sure else "ahead" if difference > 0 else "behind"].append(run)
    ahead, behind, near = map(_named, groups.values())
    return (
        f"ahead of {ahead} of the others, behind {behind}, and not to be told from {near} (p < {LEVEL} after Holm, "
        f"over these {len(found)} comparisons)"
    )


def _named(runs: Sequence[str]) -> str:
    """How many, and which where they are few."""
    return f"{len(runs)}" + (f" ({', '.join(map(label, runs))})" if 0 < len(runs) <= FEW else "")


def _protocol(references: Sequence[str], evaluate: EvaluateConfig, statistics: Sequence[Path]) -> list[str]:
    populations = dict.fromkeys(population(read_split(file)) for file in statistics)
    return [
        "## How the values are computed",
        "",
        f"- **Population.** {' '.join(populations)}",
        "- **Candidates.** All items of the data set; none is sampled. Every model is ranked twice: with the "
        "items of the user's history kept among the candidates, as in the paper, and with them masked.",
        "- **Rank and ties.** rank = 1 + items scored higher. A tie counts as the mean of the metric over all orders "
        "of the tied items; scores tie only if they are exactly equal.",
        "- **Cut-offs.** Hit@10 counts ranks up to 10. The paper's tables were most likely made by an evaluator that "
        "counts one rank more (11 under the name 10, 51 under the name 50), so wherever a value of the paper is "
        "next to ours on this page, ours is at 11 and 51.",
        "- **Seeds.** Every run is trained once per seed on the same data; values are mean ± sample standard "
        "deviation over seeds, with the number of seeds.",
        "- **Selection.** Epochs and hyper-parameters are chosen on validation alone; test targets are ranked once, "
        "with the chosen model.",
        f"- **Intervals.** {percent(evaluate.level)} percentile bootstrap over users of the mean over seeds, "
        f"{evaluate.bootstrap:,} resamples: how much the value would change with other users of the same kind.",
        f"- **Differences.** {' and '.join(map(label, references))} minus each other run, user by user on the means "
        f"over seeds, with the same kind of interval; p: two-sided paired permutation test, {FLIPS:,} "
        "sign patterns, not corrected for the number of comparisons.",
        "- **Beyond accuracy.** What the first ten items of all users are like; docs/reference/tables.md defines each "
        "measure. None is better when it is larger.",
        "",
    ]


def _statistics(files: Sequence[Path], names: PaperNames) -> list[str]:
    frame = read_statistics(files, names)
    rows = []
    for row in frame.iter_rows(named=True):
        rows.append(
            [row["dataset"], f"{row['users']:,}", f"{row['items']:,}", f"{row['interactions']:,}"]
            + [f"{row['sparsity_percent']:.3f}"]
            + [_three(row, prefix) for prefix in ("as_paper_", "paper_")]
        )
    header = ["data set", "users", "items", "interactions", "sparsity (%)"]
    columns = [*header, "counted as in the paper", f"paper, table {published().statistics.table}"]
    note = (
        "The last two columns are items / interactions / sparsity (%). The paper counts the padding item and padding "
        "user, and the rows of the training, validation and test files, one fewer per user than interactions."
    )
    return ["## Data", "", *markdown_rows(columns, rows), note, ""]


def _three(row: dict[str, float | None], prefix: str) -> str:
    items, interactions, sparsity = (row[prefix + key] for key in ("items", "interactions", "sparsity_percent"))
    return "" if items is None else f"{items:,} / {interactions:,} / {sparsity:.3f}"


def _true(rows: Rows, runs: Sequence[str], history: History) -> list[str]:
    means = [[label(run), str(rows[run, REPORTED[0]].seeds), *(_mean(rows[run, m]) for m in REPORTED)] for run in runs]
    spans = []
    for run in runs:
        cells = [f"{row.ci_low:.4f} to {row.ci_high:.4f}" for row in (rows[run, metric] for metric in REPORTED)]
        spans.append([label(run), str(rows[run, REPORTED[0]].seeds), *cells])
    return [
        f"### True cut-offs, history {history}",
        "",
        *markdown_rows(["run", "seeds", *REPORTED], means),
        "Intervals over users:",
        "",
        *markdown_rows(["run", "seeds", *REPORTED], spans),
    ]


def _against(reference: str, group: Mapping[str, RunRanks], evaluate: EvaluateConfig) -> Effects:
    """``reference`` minus each other run of a block."""
    means = per_user(group[reference])
    return {run: compare(means - per_user(own), evaluate) for run, own in group.items() if run != reference}


def _difference(effect: Effect) -> str:
    return f"{effect.difference:+.4f} ({effect.low:+.4f} to {effect.high:+.4f}; p = {effect.p_value:.4f})"


def _differences(reference: str, history: History, effects: Effects) -> list[str]:
    table = []
    for run, each in effects.items():
        table.append([label(run), *map(_difference, each)])
    return [
        f"### {label(reference)} minus each other run, history {history}",
        "",
        *markdown_rows(["run", *REPORTED], table),
    ]


def _beside_paper(rows: Rows, runs: Sequence[str], dataset: str) -> list[str]:
    """Each run at the paper's cut-offs, with the paper's value below it."""
    table = []
    for run in runs:
        table.append([label(run), str(rows[run, REPORTED[0]].seeds), *(_mean(rows[run, m]) for m in COMPATIBLE)])
        figures = [paper_figure("main", dataset, paper_name(run), metric) for metric in REPORTED]
        if any(figure is not None for figure in figures):
            table.append([f"the paper, {paper_name(run)}", "not given", *map(_number, figures)])
    return [
        "### At the cut-offs of the paper",
        "",
        "The history is kept. The paper's rows are its own values, which it calls @10 and @50; it gives no MRR and no "
        "deviations.",
        "",
        *markdown_rows(["run", "seeds", *COMPATIBLE], table),
    ]


def _beyond(frame: pl.DataFrame, runs: Sequence[str], history: History) -> list[str]:
    """What each run recommends, from the rows of beyond.csv of one block."""
    metrics = frame["metric"].unique(maintain_order=True).to_list()
    means = {(run, metric): mean for run, metric, mean in frame.select("model", "metric", "mean").iter_rows()}
    missing = [run for run in runs if (run, metrics[0]) not in means] if metrics else []
    if missing:
        raise DecorecError(
            f"--beyond: expected the runs {', '.join(runs)}, found none of the rows of {missing[0]!r}; run the step "
            "beyond-table with the same runs"
        )
    table = [[label(run), *(f"{means[run, metric]:.{decimals(metric)}f}" for metric in metrics)] for run in runs]
    return [f"### Beyond accuracy, history {history}", "", *markdown_rows(["run", *metrics], table)] if metrics else []


def _effect(row: Mapping[str, Any], columns: Sequence[str]) -> Effect | None:
    """Four columns of advantages.csv; None where they are empty."""
    values = [row[column] for column in columns]
    return None if values[0] is None else Effect(*values)


def _additions(frame: pl.DataFrame, dataset: str, history: History) -> tuple[list[str], list[str]]:
    """What each model gains from the same additions: a paragraph for the top of the page, and a table.

    Args:
        frame: the rows of advantages.csv of one block; without any, nothing is said.
        dataset: of the block.
        history: of the block.
    """
    rows = {row["run"]: row for row in frame.filter(metric=MAIN).iter_rows(named=True)}
    if not rows:
        return [], []
    hits = dict(frame.filter(metric="Hit@10").select("run", "mean").iter_rows())
    gains = {run: found for run, row in rows.items() if (found := _effect(row, GAIN)) is not None}
    leads = {run: found for run, row in rows.items() if (found := _effect(row, LEAD)) is not None}
    last = list({row["model"]: run for run, row in rows.items()}.values())
    worth = sorted(gains[run].difference for run in last if run in gains)
    parts = [_first({run: rows[run]["mean"] for run in last})]
    if worth:
        parts.append(f"To each of these models the additions are worth {worth[0]:+.4f} to {worth[-1]:+.4f}.")
    if leads:
        told = _told([(run, effect.difference, effect.p_value) for run, effect in leads.items()])
        parts.append(f"{label(last[0])} is {told}.")
    seeds = " or ".join(map(str, sorted(set(frame["seeds"]))))
    given = f"every model with what {label(last[0])} was given (seeds: {seeds})"
    short = f"**{dataset}, history {history}, {given}:** {' '.join(parts)}"
    table = []
    for run, row in rows.items():
        differences = [_difference(found[run]) if run in found else "" for found in (gains, leads)]
        table.append([label(run), str(row["seeds"]), _number(hits[run]), _number(row["mean"]), *differences])
    header = ["run", "seeds", "Hit@10", MAIN, f"minus the model's own run, {MAIN}", f"{label(last[0])} minus it"]
    return [short, ""], [
        f"### What each model gains from the same additions, history {history}",
        "",
        f"The first run of a model is its own; the others were given what {label(last[0])} has more than "
        f"{label(next(iter(rows)))}, in part or all of it, as far as the model can have it.",
        "",
        *markdown_rows(header, table),
    ]


def standard_errors(row: Summary, mean: float, std: float | None, seeds: int) -> float | None:
    """Difference of two means over seeds in units of its standard error, sqrt(s1^2 / n1 + s2^2 / n2).

    Args:
        row: our mean.
        mean: the other mean.
        std: its sample standard deviation over seeds; None: unknown.
        seeds: its number of seeds.

    Returns:
        None if a deviation is unknown or both are zero.
    """
    if row.std is None or std is None:
        return None
    error = math.sqrt(row.std**2 / row.seeds + std**2 / seeds)
    return (row.mean - mean) / error if error else None


def _beside_released(rows: Rows, runs: Sequence[str], released: Figures) -> list[str]:
    seeds = published().released.seeds
    ours = [run for run in runs if paper_name(run) == "decorec"]
    header = ["metric", f"released code ({seeds} seeds)"]
    for run in ours:
        header += [f"{label(run)} ({rows[run, REPORTED[0]].seeds} seeds)", "difference", "in standard errors"]
    table = []
    for metric in (*REPORTED, *COMPATIBLE):
        mean, std = released.mean[metric], released.std.get(metric)
        line = [metric, _number(mean) if std is None else f"{mean:.4f} ± {std:.4f}"]
        for run in ours:
            distance = standard_errors(rows[run, metric], mean, std, seeds)
            shown = "" if distance is None else f"{distance:+.1f}"
            line += [_mean(rows[run, metric]), f"{rows[run, metric].mean - mean:+.4f}", shown]
        table.append(line)
    return [
        "### Against the authors' released code, as measured",
        "",
        f"The released code was run with {seeds} seeds on its own files of this data set; it keeps the history, and "
        "its evaluator prints cut-offs 11 and 51, with ties in no particular order. The standard error is that of a "
        "difference of means over seeds, on the same users; with so few seeds it is itself uncertain. It is empty "
        "where no deviation is known.",
        "",
        *markdown_rows(header, table),
    ]


def _written(value: Any) -> str:
    """A value as it stands in a configuration."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _values(chosen: Mapping[str, TunedDifference]) -> list[str]:
    """The values of runs that were tuned on a data set; nothing if none was."""
    if not chosen:
        return ["No values were chosen on this data set: every run has the values of the configuration.", ""]
    listed = {
        run: ", ".join(f"`{key}: {_written(value)}`" for key, value in flat(values.model_dump(exclude_unset=True)))
        for run, values in chosen.items()
    }
    return [
        "Values chosen on validation NDCG@10 of this data set; all other values are those of the configuration:",
        "",
        *(f"- {label(run)}: {values}" for run, values in listed.items()),
        "",
    ]


def _section(
    dataset: str,
    found: Mapping[History, dict[str, RunRanks]],
    references: Sequence[str],
    evaluate: EvaluateConfig,
    name: str | None,
    chosen: Mapping[str, TunedDifference],
    beyond: pl.DataFrame,
    advantages: pl.DataFrame | None,
) -> tuple[list[str], list[str]]:
    """What stands at the top of the page of a data set, and its section."""
    runs = list(found["kept"])
    rows: dict[History, Rows] = {}
    for history, group in found.items():
        summaries = summarise_block(Block(dataset, history), group, None, evaluate, (*REPORTED, *COMPATIBLE))
        rows[history] = {(row.run, row.metric): row for row in summaries}
    users = rows["kept"][runs[0], REPORTED[0]].users
    origin = f"; in the paper: {name}" if name else "; not in the paper"
    lines = [f"## {dataset}", "", f"{users:,} users ranked{origin}.", "", *_values(chosen)]
    for history in found:
        lines += _true(rows[history], runs, history)
    short = []
    for history, group in found.items():
        effects = {reference: _against(reference, group, evaluate) for reference in references}
        short += _in_short(dataset, history, rows[history], effects)
        for reference, against in effects.items():
            lines += _differences(reference, history, against)
    for history in found:
        lines += _beyond(beyond.filter(dataset=dataset, history=history), runs, history)
    if advantages is not None:
        for history in found:
            told, table = _additions(advantages.filter(dataset=dataset, history=history), dataset, history)
            short += told
            lines += table
    if name:
        lines += _beside_paper(rows["kept"], runs, name)
    released = released_figures(name)
    if released:
        lines += _beside_released(rows["kept"], runs, released)
    return short, lines


def _notes(runs: Sequence[str], in_paper: bool) -> list[str]:
    """One paragraph per run with a description."""
    described = {run: note(run, in_paper) for run in runs}
    noted = [f"- **{label(run)}.** {text}" for run, text in described.items() if text]
    return ["## What the rows are", "", *noted, ""] if noted else []


def results_page(
    *,
    ranks: list[Path],
    statistics: list[Path],
    beyond: Path,
    advantages: list[Path],
    runs: list[str],
    references: list[str],
    evaluate: EvaluateConfig,
    paper: PaperNames,
    chosen: ChosenValues,
    output: Path,
) -> None:
    """Write the page of results (Markdown): who is ahead, data, true cut-offs, recommendations, the paper's values.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        statistics: DATASET/statistics.json (read) of the same data sets.
        beyond: beyond.csv (read), the table of what is recommended by the same runs on the same data sets.
        advantages: advantages.csv (read), the table of what each model gains from the same additions; or no file.
        runs: the runs, in the order of the rows.
        references: runs that are compared with all others.
        evaluate: the section evaluate of the configuration.
        paper: data set -> its name in the paper, or null.
        chosen: data set -> run -> values that were chosen on its validation items.
        output: the page (written).

    Raises:
        DecorecError: a reference is not one of the runs, or the files do not fit together (see
            ``decorec.tables.collect.read_runs`` and ``decorec.tables.statistics.read_statistics``).
    """
    if not set(references) <= set(runs):
        raise DecorecError(
            f"--references: expected runs of the page ({', '.join(runs)}), found {', '.join(references)}; "
            "correct tables.reference and tables.variants or add the run to tables.main"
        )
    top = [
        f"# Results on {', '.join(layout.dataset_of(file) for file in statistics)}",
        "",
        "This page is written by `python -m decorec results-page` from files of other steps; no number is typed "
        "by hand.",
        "",
        "## In short",
        "",
    ]
    lines = _protocol(references, evaluate, statistics) + _statistics(statistics, paper)
    measured = read_csv(beyond)
    gains = read_csv(advantages[0]) if advantages else None
    lines += _notes(runs, any(paper.root.values()))
    for dataset, blocks in groupby(read_runs(ranks, runs).items(), key=lambda entry: entry[0].dataset):
        found = {block.history: group for block, group in blocks}
        values = chosen.root.get(dataset, {})
        short, section = _section(dataset, found, references, evaluate, paper.of(dataset), values, measured, gains)
        top += short
        lines += section
    write_text(output, "\n".join(top + lines).rstrip() + "\n")
    logging.getLogger("decorec").info("%s: %d files of ranks in", output, len(ranks))
