"""Step retrieval-table: compares the modes of scoring of trained models."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.tables.cells import cells
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import label
from decorec.tables.render import Group, Table, percent, write
from decorec.tables.summary import summarise_block

__all__ = ["Scored", "read_modes", "retrieval_table"]

SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "metric", "run", "mode"), pl.String),
    **dict.fromkeys(("mean", "std"), pl.Float64),
    "seeds": pl.Int64,
    **dict.fromkeys(("ci_low", "ci_high", "p_value"), pl.Float64),
}


@dataclass(frozen=True)
class Scored:
    """A run in one of its modes."""

    run: str
    mode: str

    def __str__(self) -> str:
        return f"{label(self.run)}: {self.mode}"


def read_modes(files: Sequence[Path], runs: Sequence[str]) -> dict[Block, dict[Scored, RunRanks]]:
    """Block -> run and mode -> ranks, in the order of ``runs`` and of the modes in their files.

    Args:
        files: paths ending in DATASET/runs/RUN/seed-N/modes.parquet.
        runs: the runs expected in every data set.

    Raises:
        DecorecError: a file is damaged, or files do not fit together (see ``read_runs``).
    """
    if not files:
        raise DecorecError("--modes: expected at least one modes.parquet, found none; add runs to tables.retrieval")
    runs_of = {file: layout.place(file, layout.MODES).run for file in files}
    have: dict[str, list[str]] = {}
    for file in files:
        found = read_table(file, {"mode": pl.String})["mode"].unique(maintain_order=True).to_list()
        have.setdefault(runs_of[file], found)
    order = dict.fromkeys(mode for modes in sorted(have.values(), key=len, reverse=True) for mode in modes)
    result: dict[Block, dict[Scored, RunRanks]] = {}
    for mode in order:
        chosen = [run for run in runs if mode in have.get(run, [])]
        for block, group in read_runs([f for f in files if runs_of[f] in chosen], chosen, mode).items():
            result.setdefault(block, {}).update({Scored(run, mode): ranks for run, ranks in group.items()})
    return {
        block: dict(sorted(scored.items(), key=lambda entry: runs.index(entry[0].run)))
        for block, scored in result.items()
    }


def retrieval_table(
    *,
    modes: list[Path],
    runs: list[str],
    reference: str,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare the modes of scoring: image alone, text alone, their sum (intra) and the full score (cross).

    Args:
        modes: DATASET/runs/RUN/seed-N/modes.parquet (read) of all data sets, runs and seeds.
        runs: the runs, in the order of the columns.
        reference: run whose mode cross is tested against all others.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, metric, run and mode: dataset, history (kept or
            masked), metric, run, mode, mean, std, seeds, ci_low, ci_high, p_value (paired test of the reference in mode
            cross against this row).
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    records, groups = [], []
    columns: dict[str, None] = {}
    full = Scored(reference, "cross")
    for block, found in read_modes(modes, runs).items():
        names = {str(scored): scored for scored in found}
        tested = str(full) if full in found else None
        rows = summarise_block(block, dict(zip(names, found.values(), strict=True)), tested, evaluate)
        lines = []
        for metric, part in groupby(rows, key=lambda row: row.metric):
            line = list(part)
            for row in line:
                measured = (row.mean, row.std, row.seeds, row.ci_low, row.ci_high, row.p_value)
                records.append((*block, metric, *astuple(names[row.run]), *measured))
            lines.append((metric, cells(line)))
        groups.append(Group(block.title(f"{rows[0].users:,} users"), lines))
        columns.update(dict.fromkeys(names))
    table = Table(
        records=pl.DataFrame(records, schema=SCHEMA, orient="row"),
        caption="Scoring by image, by text, by their sum (intra) and by the full score (cross)",
        columns=["Metric", *columns],
        groups=groups,
        notes=[
            "Every column is another evaluation of a trained model. image, text: its state is compared with items in "
            "that modality only; intra: the sum of both; cross: the full score, which also compares across modalities. "
            "A run that is trained within each modality alone has no mode cross: its intra is the paper's variant.",
            f"Bold: best; underlined: second best. In brackets: {percent(evaluate.level)} bootstrap interval over "
            f"users. p: paired permutation test of {full} against the column, not corrected.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d files of modes", csv, len(modes))
