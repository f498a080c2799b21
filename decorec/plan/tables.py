"""The tables: the step, input files and values of each. A new table needs one step and one entry here."""

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
    """The job that makes a table."""

    step: str
    files: Callable[[Targets], dict[str, list[str]]]
    """Input files by parameter of the step."""
    after: Callable[[Targets], list[str]] = lambda plan: []
    """Files that must be there first, although the step does not read them."""
    values: Callable[[Targets], Mapping[str, Any]] = lambda plan: {}
    """Values of the step's other parameters: texts, numbers, lists, or sections as JSON."""
    loads: Callable[[Targets], list[str]] = lambda plan: []
    """Runs whose models the step loads, so that it depends on their code."""
    paper: str = ""
    """The table or figure of the paper, for the label in Snakemake's report."""
    wanted: Callable[[Targets], bool] = lambda plan: True
    """Whether the configuration has runs for it."""
    drawn: bool = False
    """Whether the table is only for a figure or the page: then it has a csv file and no page of its own."""


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


def _repeated_gradients(plan: Targets) -> list[str]:
    """Measurements of several trainings; none where there is one, which nothing can be tested with."""
    number = plan.config.tables.gradient_seeds
    several = len(plan.config.seeds[:number]) > 1
    return plan.of_runs(plan.config.tables.gradients, layout.GRADIENTS, number) if several else []


TABLES: dict[str, TableJob] = {
    "statistics": TableJob(
        step="statistics-table",
        files=lambda plan: {"statistics": plan.of_datasets(layout.STATISTICS)},
        values=lambda plan: {"paper": plan.paper_names()},
        paper="Table 1",
    ),
    "main": _comparison("main", "Table 2"),
    "external": TableJob(
        step="external-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.config.tables.main),
            "lists": plan.external_files(),
            "vocabs": plan.of_datasets(layout.VOCAB),
            "sequences": plan.of_datasets(layout.SEQUENCES),
        },
        values=lambda plan: {
            "runs": plan.config.tables.main,
            "external": plan.external(),
            "reference": plan.config.tables.reference,
            "evaluate": plan.section("evaluate"),
        },
        wanted=lambda plan: bool(plan.config.external),
    ),
    "leaderboard": TableJob(
        step="leaderboard-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.config.tables.main),
            "validation": plan.of_runs(plan.floors(plan.config.tables.main), layout.VALIDATION),
        },
        values=lambda plan: {
            "runs": plan.config.tables.main,
            "reference": plan.config.tables.reference,
            "floors": plan.floors(plan.config.tables.main),
            "evaluate": plan.section("evaluate"),
        },
        drawn=True,
    ),
    "claims": TableJob(
        step="claims-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.compared()),
            "modes": _modes(plan),
            "recalls": plan.recalls(),
            "histories": plan.histories() if plan.config.tables.baseline in plan.compared() else [],
            "gradients": _repeated_gradients(plan),
        },
        values=lambda plan: {
            "main": plan.config.tables.main,
            "ablations": plan.config.tables.ablations,
            "fusion": plan.config.tables.fusion,
            "retrieval": plan.config.tables.retrieval,
            "reference": plan.config.tables.reference,
            "baseline": plan.config.tables.baseline,
            "cold": plan.config.tables.cold,
            "evaluate": plan.section("evaluate"),
            "paper": plan.paper_names(),
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
    "readings": _comparison("readings", ""),
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
    "beyond": TableJob(
        step="beyond-table",
        files=lambda plan: {
            "lists": plan.of_runs(plan.config.tables.main, layout.LISTS),
            "vocabs": plan.of_datasets(layout.VOCAB),
            "sequences": plan.of_datasets(layout.SEQUENCES),
            "features": plan.all_features(),
        },
        values=lambda plan: {"runs": plan.config.tables.main, "evaluate": plan.section("evaluate")},
    ),
    "colditems": TableJob(
        step="colditems-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.config.tables.main),
            "statistics": plan.of_datasets(layout.STATISTICS),
        },
        values=lambda plan: {"runs": plan.config.tables.main, "evaluate": plan.section("evaluate")},
    ),
    "newitems": TableJob(
        step="newitems-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.config.tables.newitems, layout.NEW_ITEMS),
            "statistics": plan.of_datasets(layout.STATISTICS),
        },
        values=lambda plan: {
            "runs": plan.config.tables.newitems,
            "held_out": plan.config.tables.held_out,
            "evaluate": plan.section("evaluate"),
        },
        wanted=lambda plan: bool(plan.config.tables.newitems),
    ),
    "recall": TableJob(
        step="recall-table",
        files=lambda plan: {"recalls": plan.recalls()},
        values=lambda plan: {"paper": plan.paper_names()},
        paper="Table 3",
        wanted=lambda plan: bool(plan.recalls()),
    ),
    **{knob: _sensitivity(knob) for knob in KNOBS},
    "advantages": TableJob(
        step="advantages-table",
        files=lambda plan: {
            "ranks": plan.of_runs(plan.config.tables.advantages, seeds=plan.config.tables.advantages_seeds)
        },
        values=lambda plan: {
            "models": plan.models_of(plan.config.tables.advantages),
            "evaluate": plan.section("evaluate"),
        },
        wanted=lambda plan: bool(plan.config.tables.advantages),
    ),
    "gates": TableJob(
        step="gates-table",
        files=lambda plan: {"models": plan.last_models(plan.config.tables.gates, seeds=None)},
        loads=lambda plan: plan.config.tables.gates,
        wanted=lambda plan: bool(plan.config.tables.gates),
    ),
    "cost": TableJob(
        step="cost-table",
        files=lambda plan: {"models": plan.models(plan.config.tables.main)},
        # It reads the measurements of the jobs that made the ranks.
        after=lambda plan: plan.of_runs(plan.config.tables.main),
        values=lambda plan: {
            "first_stages": plan.first_stages(plan.config.tables.main),
            "benchmarks": layout.BENCHMARKS,
        },
        loads=lambda plan: plan.config.tables.main,
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
        loads=lambda plan: plan.config.tables.embedding,
        wanted=lambda plan: bool(plan.config.tables.embedding),
        drawn=True,
    ),
}
"""All tables except those of tuning, in the order of the page."""


class Tables(Targets):
    """Inputs of the rules of tables and figures."""

    def tables(self) -> list[str]:
        """Names of the tables that have runs, in the order of the page."""
        return [name for name, job in TABLES.items() if job.wanted(self)]

    def printed_tables(self) -> list[str]:
        """Names of the tables with a page of their own."""
        return [name for name in self.tables() if not TABLES[name].drawn]

    def advantages(self) -> list[str]:
        """The table of what each model gains from the same additions, where it has runs."""
        return [layout.fill(layout.TABLE, table="advantages")] if TABLES["advantages"].wanted(self) else []

    def table_files(self, table: str) -> dict[str, list[str]]:
        """Input files of a table, by parameter of its step, and those that it waits for, if there are any."""
        job = TABLES[table]
        after = job.after(self)
        return {**job.files(self), **({"after": after} if after else {})}

    def table_call(self, table: str) -> str:
        """The command that makes a table, without its output files."""
        job = TABLES[table]
        return call(job.step, {**job.files(self), **job.values(self)}, reproducible=self.config.reproducible)

    def table_labels(self, table: str) -> dict[str, str]:
        """Labels of a table in Snakemake's report."""
        paper = TABLES[table].paper
        return {"table": f"sensitivity to {table}" if table in KNOBS else table} | ({"paper": paper} if paper else {})
