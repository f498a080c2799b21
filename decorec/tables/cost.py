"""Step cost-table: time, memory and parameters of every run, step by step."""

from __future__ import annotations

import csv as csv_module
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import polars as pl
from pydantic import RootModel

from decorec.artifacts import layout
from decorec.config.training import STAGES
from decorec.errors import DecorecError
from decorec.tables.labels import short
from decorec.tables.render import Cell, Group, Table, write

__all__ = ["Cost", "FirstStages", "Stages", "cost_of", "cost_table"]

PREPARATION = (
    "sample",
    "download",
    "ingest",
    "crawl",
    "features",
    "split",
    "atomic",
    "atomic-features",
    "cooccurrence",
    "cluster",
)
PER_MODALITY = ("atomic-features", "cluster")
"""Those of them that run once for each modality; the others run once for a data set."""
CONTENT = ("crawl", "features", "atomic-features")
"""The preparing steps that only models of texts or pictures need."""
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "run", "step"), pl.String),
    "seeds": pl.Int64,
    **dict.fromkeys(("seconds", "seconds_std", "processor_seconds", "peak_memory_mb"), pl.Float64),
    **dict.fromkeys(("parameters", "trainable_parameters"), pl.Int64),
}


class Stages(RootModel[dict[str, dict[str, str]]]):
    """Run -> each stage that is trained for it -> the run whose training that is."""


class FirstStages(RootModel[dict[str, dict[str, str]]]):
    """Data set -> run -> the run whose stage 1 it starts from."""


def _measured(files: Sequence[Path]) -> dict[str, Any]:
    """Seconds and memory over the files that exist; empty if none does."""
    rows = []
    for file in files:
        if file.is_file():
            with file.open(newline="") as handle:
                rows += list(csv_module.DictReader(handle, delimiter="\t"))
    try:
        seconds, processor, memory = ([float(row[name]) for row in rows] for name in ("s", "cpu_time", "max_rss"))
    except (KeyError, ValueError) as error:
        raise DecorecError(
            f"{files[0]}: expected a measurement of a job (s, cpu_time, max_rss), found a problem with {error}; "
            "delete it"
        ) from error
    if not rows:
        return {"seeds": 0}
    spread = stdev(seconds) if len(seconds) > 1 else None
    return {
        "seeds": len(rows),
        "seconds": fmean(seconds),
        "seconds_std": spread,
        "processor_seconds": fmean(processor),
        "peak_memory_mb": max(memory),
    }


def _sizes(model: Path) -> dict[str, int]:
    """Number of parameters of a checkpoint, and number of those that its stage trained."""
    from decorec.models.checkpoint import load

    parameters = list(load(model, model.with_name("config.json")).model.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable),
    }


def _group(rows: Sequence[dict[str, Any]]) -> Group:
    def number(value: Any, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = []
    for row in rows:
        cells = [
            Cell("" if row["run"] == "" else str(row["seeds"])),
            Cell(number(row["seconds"], ".1f"), "", number(row["seconds_std"], ".1f")),
            *(Cell(number(row[name], ",.0f")) for name in ("peak_memory_mb", "parameters", "trainable_parameters")),
        ]
        name = f"{short(row['run'])}: {row['step']}" if row["run"] else row["step"]
        lines.append((name, cells))
    return Group(rows[0]["dataset"], lines)


def cost_table(
    *, models: list[Path], first_stages: FirstStages, benchmarks: Path, csv: Path, tex: Path, html: Path, md: Path
) -> None:
    """Collect time, memory and parameters: per data set and preparing step, then per run and step.

    Args:
        models: DATASET/runs/RUN/seed-N/STAGE/model.safetensors (read) of all data sets, runs, seeds and stages.
        first_stages: data set -> run -> run whose stage 1 it starts from; the cost of this stage counts for both runs.
        benchmarks: folder of the measurements (read).
        csv: the table (written), one row per data set, run and step: dataset, run (empty for preparing steps), step,
            seeds, seconds (wall clock, mean over seeds), seconds_std, processor_seconds, peak_memory_mb (largest
            resident memory over seeds), parameters, trainable_parameters; empty where nothing was measured.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a model or a measurement cannot be read.
    """
    found: dict[str, dict[tuple[str, str], dict[int, Path]]] = {}
    for file in models:
        where = layout.place(file, layout.MODEL)
        found.setdefault(where.dataset, {}).setdefault((where.run, where.stage), {})[where.seed] = file
    rows: list[dict[str, Any]] = []
    for dataset, trained in found.items():
        for step in PREPARATION:
            for file in _measurements(benchmarks, dataset, step):
                rows.append({"dataset": dataset, "run": "", "step": file.stem} | _measured([file]))
        for run, first in first_stages.root[dataset].items():
            for stage in (*STAGES, "evaluate"):
                owner = first if stage == "stage1" else run
                seeds = trained.get((owner, stage), {})
                if not seeds and stage != "evaluate":
                    continue
                job = layout.benchmark(layout.training_job(), str(benchmarks))
                files = [
                    Path(layout.fill(job, dataset=dataset, run=owner, seed=seed, stage=stage))
                    for seed in sorted(_seeds(trained, run))
                ]
                sizes = _sizes(seeds[min(seeds)]) if seeds else {}
                measured = _measured(files)
                rows.append({"dataset": dataset, "run": run, "step": stage} | measured | sizes)
    frame = pl.DataFrame([{key: row.get(key) for key in SCHEMA} for row in rows], schema=SCHEMA)
    table = Table(
        records=frame,
        caption="Cost of each step",
        columns=["Step", "Seeds", "Seconds", "Peak memory (MB)", "Parameters", "Trained in this step"],
        groups=[
            _group(list(part.iter_rows(named=True))) for (_,), part in frame.group_by("dataset", maintain_order=True)
        ],
        notes=[
            "Wall clock of each job as it measured itself, mean over seeds ± standard deviation over seeds, with "
            "the imports; jobs that ran at the same time are unknown. Of a training that was stopped and continued, "
            "all starts count, each up to the state that it kept last; of a download, a crawl or an encoding that "
            "was continued, the last start alone was measured. Peak memory: the largest over starts and seeds.",
            "Runs that share stage 1 train it once; its cost is listed for each of them.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d steps", csv, len(rows))


@dataclass(frozen=True)
class Cost:
    """What one model costs on one data set; None where it was not measured."""

    seconds: float | None
    """Processor seconds."""
    memory: float | None
    """Largest resident memory of a job, in MB."""


def cost_of(run: str, stages: Mapping[str, str], dataset: str, benchmarks: Path, content: bool) -> Cost:
    """Cost of training a run once and ranking all users once, mean over seeds.

    Args:
        run: the run.
        stages: each stage that is trained for it -> the run whose training that is.
        dataset: the data set.
        benchmarks: folder of the measurements; those of stages that the run had before lie there too.
        content: whether it reads texts or pictures: then fetching and encoding them counts as well.

    Raises:
        DecorecError: a measurement cannot be read.
    """
    jobs = [
        _measured(sorted(_of_seeds(benchmarks, dataset, owner, stage)))
        for stage, owner in {**stages, "evaluate": run}.items()
    ]
    if not all(job["seeds"] for job in jobs):
        return Cost(None, None)
    files = [file for step in CONTENT for file in _measurements(benchmarks, dataset, step)] if content else []
    found = [*jobs, *(_measured([file]) for file in files)]
    return Cost(sum(job["processor_seconds"] for job in found), max(job["peak_memory_mb"] for job in found))


def _of_seeds(benchmarks: Path, dataset: str, run: str, stage: str) -> list[Path]:
    """Measurements of one job of a run that there are, of all seeds."""
    job = layout.benchmark(layout.training_job(), str(benchmarks))
    file = Path(layout.fill(job, dataset=dataset, run=run, seed="*", stage=stage))
    return list(file.parents[1].glob(f"{file.parent.name}/{file.name}"))


def _measurements(benchmarks: Path, dataset: str, step: str) -> list[Path]:
    """Measurements of a preparing step that there are: one file, or one for each modality (STEP-MODALITY)."""
    file = Path(layout.benchmark(f"{dataset}/{step}", str(benchmarks)))
    return sorted(file.parent.glob(f"{step}-*.tsv" if step in PER_MODALITY else file.name))


def _seeds(trained: dict[tuple[str, str], dict[int, Path]], run: str) -> set[int]:
    return {seed for (name, _), seeds in trained.items() if name == run for seed in seeds}
