"""Decides what to compute for a configuration, in plain Python, for the rules of the workflow.

It does not depend on the workflow engine, and importing it loads none of the libraries of the steps.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from decorec.acquire.sources.registry import SOURCES
from decorec.artifacts import layout
from decorec.figures.registry import FIGURES
from decorec.models.registry import modules_of
from decorec.plan.fingerprints import code_fingerprint
from decorec.plan.inputs import INGESTED
from decorec.plan.tables import TABLES, Tables
from decorec.steps import STEPS

__all__ = ["Plan"]


class Plan(Tables):
    """Everything that the rules need to know about one configuration."""

    def figures(self) -> list[str]:
        """Names of the figures whose tables are all in this configuration."""
        return [name for name, drawing in FIGURES.items() if set(drawing.tables) <= set(self.tables())]

    def page_files(self, page: str, asked: Collection[str] = ()) -> dict[str, list[str]]:
        """Input files of a page, by parameter of its step: all there are ("full"), or what is there ("index").

        Of tables, figures and verdicts, "index" shows those whose file exists when the workflow is planned, or that the
        same call makes, so that it starts no training of its own; the main table it needs, and with it its trainings,
        whose curves it shows. A gallery is made if the files that it reads exist, or if it shows models of the main
        table alone. The paper's claims stand beside the paper's data alone.

        Args:
            page: full or index.
            asked: files that the call was asked for.
        """
        whole = page == "full"
        made = {str(Path(file).with_suffix("")) for file in asked}  # one job makes files of one name in several formats

        def there(file: str) -> bool:
            return whole or Path(file).is_file() or str(Path(file).with_suffix("")) in made

        main = layout.fill(layout.TABLE, table="main")
        paper = any(dataset.paper for dataset in self.config.datasets.values())
        names = [name for name in self.printed_tables() if paper or name != "claims"]
        tables = {name: layout.fill(layout.TABLE_HTML, table=name) for name in names}
        figures = [layout.fill(layout.FIGURE_SVG, name=name) for name in self.figures()]
        galleries = {name: layout.fill(layout.GALLERY, dataset=name) for name in self.datasets()}
        verdicts = [
            layout.fill(layout.VERDICT_VALUES, dataset=name) for name in self.datasets() if self.has_verdict(name)
        ]
        return {
            "leaderboard": [layout.fill(layout.TABLE, table="leaderboard")],
            "tables": [file for name, file in tables.items() if name == "main" or there(file)],
            "figures": [file for file in figures if there(file)],
            "histories": [file for file in self.trained() if there(file) or not Path(main).is_file()],
            "galleries": [
                file
                for name, file in galleries.items()
                if there(file)
                or all(map(there, self.gallery_files(name)))
                or set() < set(self.shown_runs(name)) <= set(self.config.tables.main)
            ],
            "verdicts": [file for file in verdicts if there(file)],
            "counts": self.of_datasets(layout.COUNTS, *INGESTED),
            "statistics": self.of_datasets(layout.STATISTICS),
            "images": self.of_datasets(layout.IMAGES, *INGESTED),
        }

    def code(self, step: str, *modules: str) -> str:
        """Fingerprint of the modules that a step uses, and of those of models or of a source."""
        code = code_fingerprint(STEPS[step].module, *sorted(modules))
        pinned = self.config.reproducible and not STEPS[step].exact
        return f"{code}-{code_fingerprint('decorec.processor')}" if pinned else code

    def code_of_source(self, step: str, dataset: str) -> str:
        """Fingerprint of the modules that a step uses for the source of a data set."""
        return self.code(step, SOURCES[self.config.datasets[dataset].source])

    def code_of_run(self, step: str, run: str) -> str:
        """Fingerprint of the modules that a step uses for the model of a run."""
        return self.code_of_runs(step, [run])

    def code_of_runs(self, step: str, runs: list[str]) -> str:
        """The same for the models of several runs."""
        return self.code(step, *{name for run in runs if run in self.runs for name in modules_of(self.runs[run])})

    def code_of_training(self, dataset: str, run: str, stage: str) -> str:
        """The same for a training; with ``Contents.of`` the checkpoint of one's own that ``train.start`` names."""
        code, earlier = self.code_of_run("train", run), self.earlier(dataset, run)
        if earlier is None or self.is_ours(earlier):
            return code
        return f"{code}-{self.contents.of(self.start(dataset, run, stage).values())}"

    def code_of_table(self, table: str) -> str:
        """Fingerprint of the modules that make a table."""
        job = TABLES[table]
        return self.code_of_runs(job.step, job.loads(self))
