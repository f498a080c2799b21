"""Decides what to compute for a configuration, in plain Python, for the rules of the workflow.

It does not depend on the workflow engine, and importing it loads none of the libraries of the steps.
"""

from __future__ import annotations

from decorec.figures.registry import FIGURES
from decorec.models.registry import modules_of
from decorec.plan.fingerprints import code_fingerprint
from decorec.plan.tables import TABLES, Tables
from decorec.steps import STEPS

__all__ = ["Plan"]


class Plan(Tables):
    """Everything that the rules need to know about one configuration."""

    def figures(self) -> list[str]:
        """Names of the figures whose tables are all in this configuration."""
        return [name for name, drawing in FIGURES.items() if set(drawing.tables) <= set(self.tables())]

    def code(self, step: str, *models: str) -> str:
        """Fingerprint of the modules that a step uses, and of modules of models."""
        code = code_fingerprint(STEPS[step].module, *sorted(models))
        pinned = self.config.reproducible and not STEPS[step].exact
        return f"{code}-{code_fingerprint('decorec.processor')}" if pinned else code

    def code_of_run(self, step: str, run: str) -> str:
        """Fingerprint of the modules that a step uses for the model of a run."""
        return self.code_of_runs(step, [run])

    def code_of_runs(self, step: str, runs: list[str]) -> str:
        """The same for the models of several runs."""
        return self.code(step, *{name for run in runs if run in self.runs for name in modules_of(self.runs[run])})

    def code_of_table(self, table: str) -> str:
        """Fingerprint of the modules that make a table."""
        job = TABLES[table]
        return self.code_of_runs(job.step, job.loads(self))
