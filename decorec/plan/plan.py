"""What has to be computed for a configuration: plain Python that the workflow's rules ask.

It knows nothing of the workflow engine, and importing it loads none of the libraries of the steps.
"""

from __future__ import annotations

from decorec.figures.registry import FIGURES
from decorec.models.registry import module_of
from decorec.plan.fingerprints import code_fingerprint
from decorec.plan.tables import TABLES, Tables
from decorec.steps import STEPS

__all__ = ["Plan"]


class Plan(Tables):
    """Answers of one configuration to the questions of the rules."""

    def figures(self) -> list[str]:
        """Names of the figures whose tables this configuration has."""
        return [name for name, drawing in FIGURES.items() if set(drawing.tables) <= set(self.tables())]

    def code(self, step: str) -> str:
        """Fingerprint of the modules that a step uses."""
        return code_fingerprint(STEPS[step].module)

    def code_of_run(self, step: str, run: str) -> str:
        """Fingerprint of the modules that a step uses for the model of a run."""
        return code_fingerprint(STEPS[step].module, module_of(self.runs[run].model.name))

    def code_of_table(self, table: str) -> str:
        """Fingerprint of the modules that make a table."""
        return self.code(TABLES[table].step)
