"""Input files of the recommendations, and of the model that is trained on all interactions for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from decorec.artifacts import layout
from decorec.config import Run
from decorec.plan.inputs import INGESTED, Inputs
from decorec.plan.sharing import as_json

__all__ = ["Recommending"]

T = TypeVar("T")


class Recommending(Inputs):
    """What the rules of the recommendations and of the model for production ask."""

    def whole_histories(self, dataset: str) -> dict[str, Any]:
        """The whole histories of all customers: of an atomic data set, the sequences and the ids of the items."""
        ingested = self.config.datasets[dataset].source in INGESTED
        return {
            "histories": layout.fill(layout.HISTORIES, dataset=dataset) if ingested else [],
            "sequences": [] if ingested else layout.fill(layout.SEQUENCES, dataset=dataset),
            "vocab": [] if ingested else layout.fill(layout.VOCAB, dataset=dataset),
        }

    def recommended(self, dataset: str) -> dict[str, Any]:
        """Input files of the step recommend: the model, the histories, and the files of ids that the section names."""
        categories = self.config.recommend.categories
        return {
            "model": self._recommending(dataset),
            **self.whole_histories(dataset),
            "catalogue": layout.fill(layout.CATALOGUE, dataset=dataset) if categories else [],
            "ids": self._ids(),
        }

    def ids_content(self) -> str:
        """``Contents.of`` the files of ids."""
        return self.contents.of(self._ids())

    def _ids(self) -> list[str]:
        settings = self.config.recommend
        return [path for path in (settings.exclude_items, settings.only) if path is not None]

    def recommended_run(self) -> str:
        """The run whose model recommends."""
        return self.config.recommend.run or self.config.tables.reference

    def recommended_folder(self, dataset: str) -> str:
        """The folder of its model: of the last stage, since that of an earlier configuration may lie beside it."""
        return str(Path(self._recommending(dataset)[0]).parent)

    def _recommending(self, dataset: str) -> list[str]:
        """The files of that model."""
        run = self.recommended_run()
        if self.config.recommend.production:
            patterns = layout.PRODUCTION_MODEL, layout.PRODUCTION_CONFIG
        else:
            patterns = layout.MODEL, layout.MODEL_CONFIG
        place = {"dataset": dataset, "run": run, "seed": self.config.seeds[0], "stage": self.last_stage(run)}
        return [layout.fill(pattern, **place) for pattern in patterns]

    def trainings(self, dataset: str, run: str = "", stage: str = "") -> list[tuple[Run, str]]:
        """A run on a data set and its stages, or one of them; without a run, that which recommends."""
        found = self.on(dataset, run or self.recommended_run())
        return [(found, name) for name in ([stage] if stage else found.stages)]

    def production_section(self, dataset: str, section: str) -> str:
        """A section of the run that is trained for production, as JSON."""
        return as_json(getattr(self.on(dataset, self.recommended_run()), section))

    def of_production(self, question: Callable[..., T]) -> Callable[..., T]:
        """A question about a run, such as ``devices``, asked about the one that is trained for production."""
        return partial(question, run=self.recommended_run())

    def production_training(self, dataset: str, stage: str) -> dict[str, Any]:
        """Input files of a training on all interactions; see ``training``."""
        run, seed = self.recommended_run(), str(self.config.seeds[0])
        files = self.training(dataset, run, stage, seed)
        owner = self.first_stage_run(run, dataset) if stage == "stage1" else run
        first = {"dataset": dataset, "stage": "stage1"}
        if stage == "stage2" and self.earlier(dataset, run) is None:
            files |= {"start": layout.fill(layout.PRODUCTION_MODEL, **first)}
            files |= {"start_config": layout.fill(layout.PRODUCTION_CONFIG, **first)}
        return files | {
            "sequences": layout.fill(layout.PRODUCTION_SEQUENCES, dataset=dataset),
            "interests": [
                layout.fill(layout.PRODUCTION_INTERESTS, dataset=dataset, modality=Path(path).stem)
                for path in files["interests"]
            ],
            "cooccurrence": layout.fill(layout.PRODUCTION_COOCCURRENCE, dataset=dataset)
            if files["cooccurrence"]
            else [],
            "epochs_of": layout.fill(layout.HISTORY, dataset=dataset, run=owner, seed=seed, stage=stage),
        }

    def production_card(self, dataset: str) -> dict[str, Any]:
        """What the card of the model for production is made from."""
        run, seed = self.recommended_run(), str(self.config.seeds[0])
        stage = self.last_stage(run)
        twin = {"dataset": dataset, "run": run, "seed": seed, "stage": stage}
        ingested = self.config.datasets[dataset].source in INGESTED
        return {
            "model": layout.fill(layout.PRODUCTION_MODEL, dataset=dataset, stage=stage),
            "twin": layout.fill(layout.HISTORY, **twin),
            "metrics": layout.fill(layout.METRICS, **twin),
            "sequences": layout.fill(layout.PRODUCTION_SEQUENCES, dataset=dataset),
            "features": self.training(dataset, run, stage, seed)["features"],
            "counts": layout.fill(layout.COUNTS, dataset=dataset) if ingested else [],
        }
