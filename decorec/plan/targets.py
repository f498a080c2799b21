"""The files of runs from which the tables and figures of a configuration are made."""

from __future__ import annotations

import json

from decorec.artifacts import layout
from decorec.config.runs import flat
from decorec.errors import DecorecError
from decorec.figures.registry import FIGURES
from decorec.plan.inputs import INGESTED
from decorec.plan.recommending import Recommending

__all__ = ["Targets"]


class Targets(Recommending):
    """Lists of files of runs."""

    def seeds(self, run: str, most: int | None = None) -> list[int]:
        """The seeds (the first ``most`` if given) of a run; one, if its model draws nothing at random."""
        return self.config.seeds[: most if self.runs[run].model.seeded else 1]

    def of_runs(
        self,
        runs: list[str],
        pattern: str = layout.RANKS,
        seeds: int | None = None,
        datasets: list[str] | None = None,
    ) -> list[str]:
        """One file of every data set (or of ``datasets``), run and seed of it (the first ``seeds`` if given).

        By default the ranks.
        """
        return [
            layout.fill(pattern, dataset=dataset, run=run, seed=seed)
            for dataset in datasets or self.config.datasets
            for run in runs
            for seed in self.seeds(run, seeds)
        ]

    def sensitivity(self, knob: str, pattern: str = layout.RANKS) -> list[str]:
        """One file of every data set, run and seed in a table of sensitivity."""
        return self.of_runs(list(self.config.sensitivity(knob)), pattern, self.config.tables.sensitivity_seeds)

    def values(self, knob: str) -> str:
        """Run -> value in a table of sensitivity, as JSON."""
        return json.dumps(self.config.sensitivity(knob))

    def last_models(self, runs: list[str], *datasets: str, seeds: int | None = 1) -> list[str]:
        """The models of the last stage of some runs, of the first ``seeds`` seeds (None: of all)."""
        return [
            layout.fill(layout.MODEL, dataset=dataset, run=run, seed=seed, stage=self.last_stage(run))
            for dataset in datasets or self.config.datasets
            for run in runs
            for seed in self.seeds(run, seeds)
        ]

    def shown_models(self, dataset: str) -> list[str]:
        """The trained models whose recommendations the report shows."""
        return self.last_models(self.shown_runs(dataset), dataset)

    def shown_runs(self, dataset: str) -> list[str]:
        """Their runs: those that the data set has features for."""
        known = [run for run in self.config.report.runs if run in self.runs]
        return [run for run in known if self.has_features(dataset, run)]

    def twins(self, dataset: str) -> dict[str, list[str]]:
        """Run -> modalities, of the runs of the verdict that a data set has features for.

        Raises:
            DecorecError: the configuration names no run of the verdict, or the data set has none of its modalities.
        """
        found = self._twins(dataset)
        if not any(found.values()):
            file, names = layout.fill(layout.VERDICT, dataset=dataset), ", ".join(self.modalities(dataset)) or "none"
            raise DecorecError(
                f"{file}: expected tables.verdict to name a run of DeCoRec with modalities that the data set has "
                f"({names}), found {self.config.tables.verdict or 'null'}; correct tables.verdict"
            )
        return found

    def has_verdict(self, dataset: str) -> bool:
        """Whether there are runs with and without modalities to compare on a data set."""
        return any(self._twins(dataset).values())

    def _twins(self, dataset: str) -> dict[str, list[str]]:
        present = set(self.modalities(dataset))
        return {run: list(has) for has, run in self.config.twins().items() if set(has) <= present}

    def verdict_runs(self, dataset: str) -> list[str]:
        """Runs that the verdict compares: the twins, and those of the main table."""
        return list(dict.fromkeys([*self.twins(dataset), *self.config.tables.main]))

    def verdict_files(self, dataset: str) -> dict[str, list[str]]:
        """Input files of the verdict, by parameter of the step."""
        place = {"dataset": dataset}
        return {
            "ranks": self.of_runs(self.verdict_runs(dataset), datasets=[dataset]),
            "validation": self.of_runs(self.verdict_runs(dataset), layout.VALIDATION, datasets=[dataset]),
            "statistics": [layout.fill(layout.STATISTICS, **place)],
            "counts": [layout.fill(layout.COUNTS, **place)] if dataset in self.datasets(*INGESTED) else [],
            "features": [layout.fill(layout.FEATURES, **place, modality=name) for name in self.modalities(dataset)],
        }

    def verdict_twins(self, dataset: str) -> str:
        """Run of the verdict -> its modalities, as JSON."""
        return json.dumps(self.twins(dataset))

    def verdict_reads(self, dataset: str) -> str:
        """Run of the main table -> the modalities that it reads, as JSON."""
        return json.dumps({run: sorted(self.features_of(run)) for run in self.config.tables.main})

    def verdict_stages(self, dataset: str) -> str:
        """Run that the verdict compares -> stage that is trained -> run whose training it is, as JSON.

        A run that starts from an earlier checkpoint has no training of its first stage where it has two.
        """
        found: dict[str, dict[str, str]] = {}
        for run in self.verdict_runs(dataset):
            every = self.runs[run].stages
            trained = every if self.earlier(dataset, run) is None else every[-1:]
            owner = self.first_stage_run(run, dataset)
            found[run] = {stage: owner if stage == "stage1" else run for stage in trained}
        return json.dumps(found)

    def all_features(self) -> list[str]:
        """Features of every modality that a data set has, of all data sets."""
        return [
            layout.fill(layout.FEATURES, dataset=dataset, modality=modality)
            for dataset in self.config.datasets
            for modality in self.modalities(dataset)
        ]

    def external(self) -> str:
        """The section of the recommendations of other programs, as JSON."""
        return json.dumps({name: section.model_dump() for name, section in self.config.external.items()})

    def external_files(self) -> list[str]:
        """Their files, of every data set and seed."""
        return [
            section.file(dataset, seed)
            for dataset in self.config.datasets
            for section in self.config.external.values()
            for seed in (self.config.seeds if section.seeded else [0])
        ]

    def recalls(self) -> list[str]:
        """The recall without training, of the data sets that have features of text and image."""
        both = [name for name in self.config.datasets if {"text", "image"} <= set(self.modalities(name))]
        return [layout.fill(layout.RECALL, dataset=dataset) for dataset in both]

    def models(self, runs: list[str]) -> list[str]:
        """The trained models of all stages of some runs."""
        found = []
        for dataset in self.config.datasets:
            owners = [
                (self.first_stage_run(run, dataset) if stage == "stage1" else run, stage)
                for run in runs
                for stage in self.runs[run].stages
            ]
            found += [
                layout.fill(layout.MODEL, dataset=dataset, run=owner, seed=seed, stage=stage)
                for owner, stage in dict.fromkeys(owners)
                for seed in self.seeds(owner)
            ]
        return found

    def models_of(self, runs: list[str]) -> str:
        """Run -> its model, as JSON, in the order of ``runs``."""
        return json.dumps({run: self.runs[run].model.name for run in runs})

    def floors(self, runs: list[str]) -> list[str]:
        """Those of ``runs`` that draw nothing at random: rules and closed forms."""
        return [run for run in runs if not self.runs[run].model.seeded]

    def first_stages(self, runs: list[str]) -> str:
        """Data set -> run -> the run whose stage 1 it starts from, as JSON."""
        return json.dumps(
            {dataset: {run: self.first_stage_run(run, dataset) for run in runs} for dataset in self.config.datasets}
        )

    def histories(self) -> list[str]:
        """Histories of training on ids alone (the baseline), and on modalities alone (a stage 1 of the reference)."""
        tables = self.config.tables
        named = [run for run in dict.fromkeys((tables.baseline, tables.reference)) if run in self.runs]
        stages = [(run, self.runs[run].stages[0]) for run in named]
        stages = [(run, stage) for run, stage in stages if run == tables.baseline or stage == "stage1"]
        return [
            layout.fill(layout.HISTORY, dataset=dataset, run=self.first_stage_run(run, dataset), seed=seed, stage=stage)
            for dataset in self.config.datasets
            for run, stage in stages
            for seed in self.seeds(run)
        ]

    def trained(self) -> list[str]:
        """Histories of the trainings of the main table's runs, the seeds of a run and stage one after the other."""
        return [
            layout.fill(layout.HISTORY, dataset=dataset, run=run, seed=seed, stage=stage)
            for dataset in self.config.datasets
            for run in self.config.tables.main
            if self.runs[run].model.seeded
            for stage in self.runs[run].stages
            if stage != "stage1" or self.first_stage_run(run, dataset) == run
            for seed in self.seeds(run)
        ]

    def images(self, dataset: str) -> list[str]:
        """The outcomes of the crawl; empty for data sets with given features."""
        return [layout.fill(layout.IMAGES, dataset=dataset)] if dataset in self.datasets(*INGESTED) else []

    def gallery_files(self, dataset: str) -> list[str]:
        """All files that the gallery of a data set reads."""
        read = (layout.VOCAB, layout.SEQUENCES, layout.CATALOGUE)
        files = [layout.fill(pattern, dataset=dataset) for pattern in read]
        return [*files, *self.images(dataset), *self.interests_shown(dataset), *self.shown_models(dataset)]

    def interests_shown(self, dataset: str) -> list[str]:
        """Interests of all modalities of a data set, of the base sections."""
        return [
            layout.fill(layout.INTERESTS, dataset=dataset, variant="", modality=name)
            for name in self.modalities(dataset)
        ]

    def compared(self) -> list[str]:
        """Runs whose ranks the paper's claims are about: of the tables of models, of ablations and of fusion."""
        tables = self.config.tables
        return list(dict.fromkeys([*tables.main, *tables.ablations, *tables.fusion]))

    def references(self) -> list[str]:
        """Runs that the page of results compares with all others."""
        tables = self.config.tables
        return [tables.reference, *(run for run in tables.variants if run in tables.main)]

    def chosen(self, runs: list[str]) -> str:
        """Data set -> run -> values that were chosen there on validation, as JSON."""
        return json.dumps(
            {
                dataset: {run: found[run].model_dump(exclude_unset=True) for run in runs if run in found}
                for dataset, found in self.config.tuned.items()
                if dataset in self.config.datasets
            }
        )

    def paper_names(self) -> str:
        """Data set -> its name in the paper's tables, as JSON; only data sets of the paper."""
        names = {name: dataset.paper for name, dataset in self.config.datasets.items() if dataset.paper}
        return json.dumps(names, sort_keys=True)

    def tuned_runs(self) -> list[str]:
        """Runs of the main table with a search space; presets keep their values, variants use those of their model.

        Those that have a search space of their own in the configuration are tuned in any case.
        """
        differences, variants = self.config.runs, self.config.tables.variants
        described = [name for name in self.config.tables.main if differences[name].method == "described"]
        usual = [name for name in described if self.runs[name].model.space and name not in variants]
        return [name for name in self.config.tables.main if name in usual or name in self.config.tuning.space]

    def own_space(self, run: str) -> list[str]:
        """The search space that the configuration has for a run, as JSON; none if it has none."""
        space = self.config.tuning.space.get(run)
        return [] if space is None else [json.dumps(space)]

    def chosen_before(self, dataset: str) -> str:
        """Runs with trials that have chosen values on a data set already, which trials do not start from, as JSON.

        Run -> its values without them, and their keys.
        """
        chosen = self.config.tuned.get(dataset, {})
        return json.dumps(
            {
                run: (self.runs[run].dump(), [key for key, _ in flat(chosen[run].model_dump(exclude_unset=True))])
                for run in self.tuned_runs()
                if run in chosen
            }
        )

    def trials(self, dataset: str) -> list[str]:
        """The files of trials of a data set."""
        return [layout.fill(layout.TRIALS, dataset=dataset, run=run) for run in self.tuned_runs()]

    def figure_tables(self, name: str) -> list[str]:
        """The csv files from which a figure is drawn."""
        return [layout.fill(layout.TABLE, table=table) for table in FIGURES[name].tables]

    def figure_caption(self, name: str) -> str:
        """What a figure shows, for Snakemake's report."""
        return FIGURES[name].caption
