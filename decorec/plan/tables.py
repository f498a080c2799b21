"""The tables: which step makes each, from which files and values. A new table is one step and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from decorec.artifacts import layout
from decorec.config.tables import KNOBS
from decorec.plan.commands import call
from decorec.plan.targets import Targets

__all__ = ["TABLES", "TableJob", "Tables"]


@dataclass(frozen=True)
class TableJob:
    """How a table is made."""

    step: str
    files: Callable[[Targets], dict[str, list[str]]]
    """Input files by the names of the step's arguments."""
    values: Callable[[Targets], Mapping[str, Any]] = lambda plan: {}
    """The step's other arguments: texts, numbers, lists, or sections as JSON."""
    paper: str = ""
    """What the paper has of the kind, for the label in Snakemake's report."""
    wanted: Callable[[Targets], bool] = lambda plan: True
    """Whether the configuration has runs for it."""
    drawn: bool = False
    """A table for a figure alone: it has a csv file and no page of its own."""


def _comparison(kind: str, paper: str) -> TableJob:
    def runs(plan: Targets) -> list[str]:
        found: list[str] = getattr(plan.config.tables, kind)
        return found

    return TableJob(
        step="comparison-table",
        files=lambda plan: {"ranks": plan.of_runs(runs(plan))},
        values=lambda plan: {
            "kind": kind,
            "runs": runs(plan),
            "reference": plan.config.tables.reference,
            "evaluate": plan.section("evaluate"),
            "paper": plan.paper_names(),
        },
        paper=paper,
        wanted=lambda plan: bool(runs(plan)),
    )


def _sensitivity(knob: str) -> TableJob:
    return TableJob(
        step="sensitivity-table",
        files=lambda plan: {
            "ranks": plan.sensitivity(knob),
            "metrics": plan.sensitivity(knob, layout.METRICS),
        },
        values=lambda plan: {
            "knob": knob,
            "values": plan.values(knob),
            "reference": plan.config.tables.reference,
            "evaluate": plan.section("evaluate"),
        },
        wanted=lambda plan: bool(getattr(plan.config.tables, knob)),
    )


def _modes(plan: Targets) -> list[str]:
    return plan.of_runs(plan.config.tables.retrieval, layout.MODES)


TABLES: dict[str, TableJob] = {
    "statistics": TableJob(
        step="statistics-table",
        files=lambda plan: {"statistics": plan.of_datasets(layout.STATISTICS)},
        values=lambda plan: {"paper": plan.paper_names()},
        paper="Table 1",
    ),
    "main": _comparison("main", "Table 2"),
    "claims": TableJob(
        step="claims-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.compared()),
            "modes": _modes(plan),
            "recalls": plan.of_datasets(layout.RECALL),
        },
        values=lambda plan: {
            "main": plan.config.tables.main,
            "ablations": plan.config.tables.ablations,
            "retrieval": plan.config.tables.retrieval,
            "reference": plan.config.tables.reference,
            "baseline": plan.config.tables.baseline,
            "cold": plan.config.tables.cold,
            "evaluate": plan.section("evaluate"),
        },
    ),
    "ablations": _comparison("ablations", "Table 4"),
    "retrieval": TableJob(
        step="retrieval-table",
        files=lambda plan: {"modes": _modes(plan)},
        values=lambda plan: {
            "runs": plan.config.tables.retrieval,
            "reference": plan.config.tables.reference,
            "evaluate": plan.section("evaluate"),
        },
        paper="Figures 7 and 8",
        wanted=lambda plan: bool(plan.config.tables.retrieval),
    ),
    "fusion": _comparison("fusion", "Figure 4"),
    "coldstart": TableJob(
        step="coldstart-table",
        files=lambda plan: {"ranks": plan.of_runs(plan.config.tables.main)},
        values=lambda plan: {
            "runs": plan.config.tables.main,
            "baseline": plan.config.tables.baseline,
            "cold": plan.config.tables.cold,
            "evaluate": plan.section("evaluate"),
        },
        paper="Figure 9",
    ),
    "recall": TableJob(
        step="recall-table",
        files=lambda plan: {"recalls": plan.of_datasets(layout.RECALL)},
        values=lambda plan: {"paper": plan.paper_names()},
        paper="Table 3",
    ),
    **{knob: _sensitivity(knob) for knob in KNOBS},
    "cost": TableJob(
        step="cost-table",
        files=lambda plan: {"models": plan.models(plan.config.tables.main)},
        values=lambda plan: {
            "first_stages": plan.first_stages(plan.config.tables.main),
            "benchmarks": layout.BENCHMARKS,
        },
    ),
    "curves": TableJob(
        step="curves-table",
        files=lambda plan: {"histories": plan.histories()},
        wanted=lambda plan: plan.config.tables.baseline in plan.runs,
        drawn=True,
    ),
    "gradients": TableJob(
        step="gradients-table",
        files=lambda plan: {"gradients": plan.of_runs(plan.config.tables.gradients, layout.GRADIENTS, 1)},
        wanted=lambda plan: bool(plan.config.tables.gradients),
        drawn=True,
    ),
    "embedding": TableJob(
        step="embedding-table",
        files=lambda plan: {
            "models": plan.last_models(plan.config.tables.embedding),
            "interests": plan.of_datasets(layout.INTERESTS, variant="", modality="text"),
        },
        wanted=lambda plan: bool(plan.config.tables.embedding),
        drawn=True,
    ),
}
"""All tables but those of tuning, in the order of the page."""


class Tables(Targets):
    """Answers to the rules of tables and figures."""

    def tables(self) -> list[str]:
        """Names of the tables that have runs, in the order of the page."""
        return [name for name, job in TABLES.items() if job.wanted(self)]

    def printed_tables(self) -> list[str]:
        """Those that have a page of their own."""
        return [name for name in self.tables() if not TABLES[name].drawn]

    def table_files(self, table: str) -> dict[str, list[str]]:
        """Input files of a table, by the names of its step's arguments."""
        return TABLES[table].files(self)

    def table_call(self, table: str) -> str:
        """The step that makes a table, with all of its arguments but the output files."""
        job = TABLES[table]
        return call(job.step, {**job.files(self), **job.values(self)})

    def table_labels(self, table: str) -> dict[str, str]:
        """Labels of a table in Snakemake's report."""
        paper = TABLES[table].paper
        return {"table": f"sensitivity to {table}" if table in KNOBS else table} | ({"paper": paper} if paper else {})
