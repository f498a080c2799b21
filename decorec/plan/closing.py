"""The last lines of a call: what there is to read of the main table and the verdicts, and where the rest stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median

from decorec.artifacts import layout
from decorec.plan.costs import measurement

__all__ = ["closing"]

MAIN = layout.fill(layout.TABLE, table="main")
COLUMNS = (("kept", "Hit@10"), ("kept", "NDCG@10"), ("masked", "Hit@10"), ("masked", "NDCG@10"))
"""History and metric of the columns; the first one has its interval beside it, and orders the models."""
BEHIND = 0.5
"""A seed whose value on validation is below this share of the median of at least three has not learned as they have."""
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"

Row = dict[str, str]


def closing(made: Iterable[str], terminal: bool, level: float) -> str:
    """What to show at the end of a call: "" unless it made the main table, a verdict, lists for customers or the page.

    Args:
        made: paths of the files of all jobs of the call, from the working directory on, also of those that were done.
        terminal: print the best value of a column bold; else a star stands behind it.
        level: coverage of the intervals in the main table.
    """
    files, page = sorted(set(made)), layout.fill(layout.PAGE, page="index")
    lines = _main_table(files, terminal, level) if MAIN in files else []
    for file in files:
        if (name := Path(file).name) == Path(layout.VERDICT).name:
            sentence = _sentence(layout.dataset_of(Path(file)))
            lines += ["", *[sentence] * (sentence not in lines), f"Which model to take, and what this hides: {file}"]
        elif name.startswith(Path(layout.RECOMMENDATIONS).stem):
            lines += ["", f"A list for every customer: {file}"]
    if page in files:
        lines += ["", f"Open {page} in a browser"]
    elif MAIN in files:
        lines.append(f"The page: snakemake --cores all {page}")
    return "\n".join(lines)


def _sentence(dataset: str) -> str:
    """The verdict on a data set; "" if there is none."""
    values = Path(layout.fill(layout.VERDICT_VALUES, dataset=dataset))
    return str(json.loads(values.read_text(encoding="utf-8"))["sentence"]) if values.is_file() else ""


def _main_table(made: Sequence[str], terminal: bool, level: float) -> list[str]:
    """The models of each data set in order, the verdict where there is one, and where the whole table stands."""
    with Path(MAIN).open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        lines += ["", *_table(dataset, of_dataset, made, terminal, level)]
        runs = dict.fromkeys(row["model"] for row in of_dataset)
        if behind := [line for run in runs for line in _behind(dataset, run, made)]:
            lines += ["", *behind]
        if sentence := _sentence(dataset):
            lines += ["", sentence]
    read = layout.fill(layout.TABLE_MD, table="main")
    return [*lines, "", f"All metrics, deviations and tests: {read} ({MAIN} as values)"]


def _table(dataset: str, rows: Sequence[Row], made: Sequence[str], terminal: bool, level: float) -> list[str]:
    """One line for each model, best first."""
    found = {(row["history"], row["metric"], row["model"]): row for row in rows}
    value = {key: float(row["mean"]) for key, row in found.items()}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda run: -value[(*COLUMNS[0], run)])
    best = {column: max(value[(*column, run)] for run in models) for column in COLUMNS}
    wide, coverage = max(map(len, [*models, "model"])), f"{100 * level:g} % interval"
    lines = [
        f"{dataset}: test items among all items, with the history kept among them, and masked",
        "",
        f"{'':{wide}}  {'kept':>7}  {'':16}{'':>8}  {'masked':>8}",
        f"{'model':{wide}}  {'Hit@10':>7}  {coverage:16}{'NDCG@10':>8}  {'Hit@10':>8}  {'NDCG@10':>8}"
        f"  {'seeds':>5}  {'training':>9}",
    ]
    for run in models:
        first = found[(*COLUMNS[0], run)]
        cells = [_cell(value[(*column, run)], value[(*column, run)] == best[column], terminal) for column in COLUMNS]
        interval = f"{float(first['ci_low']):.4f}-{float(first['ci_high']):.4f}"
        lines.append(
            f"{run:{wide}}  {cells[0]} {interval:16} {cells[1]}  {cells[2]}  {cells[3]}  {first['seeds']:>5}"
            f"  {_training(dataset, run, made):>9}".rstrip()
        )
    return lines


def _behind(dataset: str, run: str, made: Sequence[str]) -> list[str]:
    """One line for each seed of the run that is far below its others on validation, so that their mean misleads."""
    history, metric = COLUMNS[1]
    values = {}
    for file, place in _of_run(dataset, run, layout.METRICS, made):
        figures = json.loads(file.read_text(encoding="utf-8"))["valid"][history]
        if metric in figures:
            values[place.seed] = float(figures[metric])
    usual = median(values.values()) if len(values) > 2 else 0.0
    return [
        f"Look at {run}, seed {seed}: on validation its {metric} is {value:.4f}, the median of the {len(values)} seeds "
        f"{usual:.4f}. Its training may have ended too early (train.least_epochs)."
        for seed, value in values.items()
        if value < BEHIND * usual
    ]


def _cell(value: float, best: bool, terminal: bool) -> str:
    text = f"{value:.4f}"
    if not best:
        return f"{text:>7} "
    return f" {BOLD}{text}{PLAIN} " if terminal else f"{text:>7}*"


def _training(dataset: str, run: str, made: Sequence[str]) -> str:
    """Processor seconds that the run's own trainings with one seed took; not those that it had with other values."""
    found: dict[str, list[float]] = {}
    for _, place in _of_run(dataset, run, layout.MODEL, made):
        if cost := measurement(layout.training_job().format(**vars(place))):
            found.setdefault(place.stage, []).append(cost["cpu_time"])
    seconds = sum(map(mean, found.values()))
    return f"{seconds:.0f} s" if seconds else ""


def _of_run(dataset: str, run: str, pattern: str, made: Sequence[str]) -> Iterator[tuple[Path, layout.Place]]:
    """The files of ``pattern``, one of those under ``RUN``, of all seeds and stages of a run, with their places."""
    begin, name = layout.RUN.partition("{seed}")[0].format(dataset=dataset, run=run), Path(pattern).name
    for path in map(Path, made):
        if path.as_posix().startswith(begin) and path.name == name:
            yield path, layout.place(path, pattern)
