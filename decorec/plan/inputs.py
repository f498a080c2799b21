"""Input files and values of the steps up to evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from decorec.acquire.sources import amazon
from decorec.artifacts import layout
from decorec.artifacts.contents import Contents
from decorec.config import Config
from decorec.config.datasets import INGESTED, AmazonDataset, AtomicDataset, Dataset, FolderDataset, IngestedDataset
from decorec.config.tables import KNOBS, LISTS
from decorec.errors import DecorecError
from decorec.plan.sharing import Sharing, as_json

__all__ = ["INGESTED", "Inputs"]


class Inputs(Sharing):
    """Inputs of the rules of acquisition, preparation and training."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.contents = Contents(Path(layout.CACHE))
        self._modalities: dict[str, tuple[str, ...]] = {}
        for dataset, section in config.datasets.items():
            if isinstance(section, FolderDataset):
                self._expect_pictures(dataset, section)
        for dataset in config.datasets:
            for run in self.runs:
                self._expect_another_start(dataset, run)

    def datasets(self, *sources: str) -> list[str]:
        """Names of the data sets; only of the given sources, if any are given."""
        return [name for name, dataset in self.config.datasets.items() if not sources or dataset.source in sources]

    def pattern(self, *sources: str) -> str:
        """A regular expression that matches exactly the names of these data sets."""
        return "|".join(self.datasets(*sources)) or "(?!)"

    def pattern_of_runs(self) -> str:
        """A regular expression that matches exactly the names of the runs."""
        return "|".join(self.runs)

    def dataset(self, dataset: str) -> str:
        """The section of one data set, as JSON."""
        return as_json(self._read(dataset))

    def origin(self, dataset: str) -> str:
        """The same for the rules that fetch: without what only reading depends on."""
        section = self._read(dataset)
        if isinstance(section, IngestedDataset):
            section = section.model_copy(update={"unreadable": type(section).model_fields["unreadable"].default})
        return as_json(section)

    def given_splits(self, dataset: str) -> str:
        """The section of an atomic data set, for the rule that reads its splits: without what is said of features."""
        return as_json(self._atomic(dataset).with_features())

    def given_modality(self, dataset: str, modality: str) -> str:
        """The same for the rule that reads one of its files of features: without what is said of the others."""
        return as_json(self._atomic(dataset).with_features(modality))

    def section(self, name: str) -> str:
        """A section of the configuration, as JSON."""
        return as_json(getattr(self.config, name))

    def of_datasets(self, pattern: str, *sources: str, **wildcards: str) -> list[str]:
        """One file of every data set, or of those of the given sources."""
        return [layout.fill(pattern, dataset=dataset, **wildcards) for dataset in self.datasets(*sources)]

    def shop(self, dataset: str) -> str:
        """The folder that the local server serves; "" for sources that are not generated."""
        generated = self.config.datasets[dataset].source == "sample"
        return layout.fill(layout.SHOP, dataset=dataset) if generated else ""

    def shop_files(self, dataset: str) -> list[str]:
        """The files in that folder."""
        files = (layout.SHOP_REVIEWS, layout.SHOP_META, layout.SHOP_PICTURES)
        return [layout.fill(file, dataset=dataset) for file in files] if self.shop(dataset) else []

    def downloaded_files(self, dataset: str) -> list[str]:
        """Files on this machine that the step download reads: the generated shop, or a local copy at base_url."""
        section = self.config.datasets[dataset]
        if not isinstance(section, AmazonDataset):
            return self.shop_files(dataset)
        try:
            paths = [amazon.local_path(url) for url in amazon.urls(section)]
        except DecorecError:  # the step reports the error
            return []
        return [str(path) for path in paths if path is not None and path.is_file()]

    def raw_files(self, dataset: str) -> dict[str, Any]:
        """The files that the step ingest reads: reviews, metadata and their checksums, or the user's own files."""
        section = self.config.datasets[dataset]
        if isinstance(section, FolderDataset):
            return {"reviews": [], "meta": [], "checksums": [], "files": _own_files(section)}
        raw = {"reviews": layout.RAW_REVIEWS, "meta": layout.RAW_META, "checksums": layout.CHECKSUMS}
        return {"files": [], **{key: layout.fill(pattern, dataset=dataset) for key, pattern in raw.items()}}

    @staticmethod
    def is_ours(path: str | Path) -> bool:
        """Whether a file is one of this folder's results, and none of the user's own."""
        return Path(path).parts[:1] == (layout.RESULTS,)

    def own_content(self, dataset: str) -> str:
        """``Contents.of`` a user's own files that a data set is read from: tables, given splits, or a local copy."""
        section = self.config.datasets[dataset]
        if isinstance(section, FolderDataset):
            return self.contents.of(_own_files(section))
        if isinstance(section, AtomicDataset):
            return self.contents.of(self.atomic_files(dataset))
        return self.contents.of(self.downloaded_files(dataset)) if isinstance(section, AmazonDataset) else ""

    def given_content(self, dataset: str, modality: str) -> str:
        """``Contents.of`` the ``given_features``."""
        return self.contents.of(self.given_features(dataset, modality))

    def weights_content(self) -> str:
        """``Contents.of`` the ``weights``."""
        return self.contents.of(self.weights())

    def tensorboard(self, dataset: str, run: str, seed: str, stage: str) -> list[str]:
        """The folder for the curves of a training, if they are wanted."""
        place = layout.fill(layout.TENSORBOARD, dataset=dataset, run=run, seed=seed, stage=stage)
        return [place] * self.config.train.tensorboard

    def production_tensorboard(self, dataset: str, stage: str) -> list[str]:
        """The same of a training on all interactions."""
        place = layout.fill(layout.PRODUCTION_TENSORBOARD, dataset=dataset, stage=stage)
        return [place] * self.config.train.tensorboard

    def local_pictures(self, dataset: str) -> str:
        """A text that changes when a picture in the shop's own folder is added, replaced or deleted."""
        section = self.config.datasets[dataset]
        if not isinstance(section, FolderDataset):
            return ""
        from decorec.acquire.crawl.local import state_of_pictures

        return state_of_pictures(section, self.contents)

    def modalities(self, dataset: str) -> tuple[str, ...]:
        """Modalities that the features of a data set can have.

        A table of items without any picture has no image features, unless they are given, and then an encoder cannot
        be fitted, which takes pairs of picture and text: ``text: encoder`` then needs published weights.
        """
        if dataset not in self._modalities:
            section = self.config.datasets[dataset]
            found = section.modalities
            if isinstance(section, FolderDataset) and not _has_pictures(section):
                features = self.config.features
                given = features.vectors("image") is not None
                found = () if features.ways["text"] == "fit" else ("text", "image") if given else ("text",)
            self._modalities[dataset] = found
        return self._modalities[dataset]

    def has_features(self, dataset: str, run: str) -> bool:
        """Whether a data set can have the features that a run needs."""
        return self.features_of(run) <= set(self.modalities(dataset))

    def features_of(self, run: str) -> set[str]:
        """Modalities whose features a run reads."""
        needed = self.runs[run].every_need()
        return {need.removeprefix("features.") for need in needed if need.startswith("features.")}

    def _expect_pictures(self, dataset: str, section: FolderDataset) -> None:
        """Refuse a shop without pictures where the configuration needs them: all places in one message.

        Raises:
            DecorecError: an item must have a modality without features, or a table names a run that needs one.
        """
        present, require = self.modalities(dataset), self.config.filter.require
        compared = {name: getattr(self.config.tables, name) for name in LISTS}
        compared |= {knob: list(self.config.sensitivity(knob)) for knob in KNOBS}
        wrong = {
            f"tables.{table}": [run for run in runs if not self.has_features(dataset, run)]
            for table, runs in compared.items()
        }
        changes = [f"take {', '.join(runs)} out of {table}" for table, runs in wrong.items() if runs]
        left = [name for name in require if name in present]
        if left != require:
            changes.insert(0, f"write filter.require: [{', '.join(left)}]")
        if changes:
            texts = (
                "" if present else "; for texts alone, set features.text to lsa: an encoder is fitted to pictures too"
            )
            raise DecorecError(
                f"datasets.{dataset}: expected pictures, found none (column image of "
                f"{section.path}/{section.items}); add them, or {'; '.join(changes)}{texts}"
            )

    def weights(self) -> list[str]:
        """The files of the encoder, of vectors, and of weights that are not published ones.

        A file that is named for itself stands here whether it exists or not: Snakemake names the one that is missing.
        """
        features = self.config.features
        named = {str(path) for path in (features.pinned, features.vectors("text"), features.vectors("image")) if path}
        for path in features.files:
            files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
            named |= {str(file) for file in files if file.is_file()}
        return sorted(named)

    def required_features(self, dataset: str) -> list[str]:
        """Features of the modalities that an item must have."""
        require = self.config.filter.require
        return [layout.fill(layout.FEATURES, dataset=dataset, modality=modality) for modality in require]

    def atomic_files(self, dataset: str) -> list[str]:
        """The files of an atomic data set, without features."""
        section = self._atomic(dataset)
        stem = f"{section.path}/{section.name}"
        endings = ("train.inter", "valid.inter", "test.inter", "item2index", "user2index")
        texts = [f"{stem}.text"] if Path(f"{stem}.text").is_file() else []
        return [f"{stem}.{ending}" for ending in endings] + texts

    def given_features(self, dataset: str, modality: str) -> list[str]:
        """Item index and feature file of one modality of an atomic data set.

        Raises:
            DecorecError: the data set has no such modality.
        """
        section = self._atomic(dataset)
        if modality not in section.features:
            raise DecorecError(
                f"datasets.{dataset}: expected one of the modalities {', '.join(section.features)}, found "
                f"{modality!r}; add its file to datasets.{dataset}.features"
            )
        return [f"{section.path}/{section.name}.{ending}" for ending in ("item2index", section.features[modality])]

    def graph_behind_interests(self, dataset: str, variant: str) -> str:
        """The co-occurrence matrix from which the interests of a variant are computed."""
        return layout.fill(layout.COOCCURRENCE, dataset=dataset, variant=self.graph_of_interests(variant))

    def compared_features(self, dataset: str) -> list[str]:
        """Features that the recall without training compares by: those of the paper's two modalities."""
        return [layout.fill(layout.FEATURES, dataset=dataset, modality=modality) for modality in ("text", "image")]

    def training(self, dataset: str, run: str, stage: str, seed: str = "0") -> dict[str, Any]:
        """Input files of a training stage, by parameter of the step; [] for those that it does not need."""
        needs = set(self.on(dataset, run).needs(stage))
        modalities = self.config.datasets[dataset].modalities

        def modal(kind: str, pattern: str, **wildcards: str) -> list[str]:
            return [
                layout.fill(pattern, dataset=dataset, modality=modality, **wildcards)
                for modality in modalities
                if f"{kind}.{modality}" in needs
            ]

        graph = layout.fill(layout.COOCCURRENCE, dataset=dataset, variant=self.variant(run, "graph"))
        files = {
            "vocab": layout.fill(layout.VOCAB, dataset=dataset),
            "sequences": layout.fill(layout.SEQUENCES, dataset=dataset),
            "features": modal("features", layout.FEATURES),
            "interests": modal("interests", layout.INTERESTS, variant=self.variant(run, "interests")),
            "cooccurrence": graph if "graph" in needs else [],
        }
        return files | self.start(dataset, run, stage, seed) | {"epochs_of": []}

    def start(self, dataset: str, run: str, stage: str, seed: str = "0") -> dict[str, Any]:
        """The checkpoint from which a stage starts: an earlier one of ``train.start``, or stage 1 for stage 2."""
        if (earlier := self.earlier(dataset, run)) is not None:
            model, config = (Path(pattern).name for pattern in (layout.MODEL, layout.MODEL_CONFIG))
            places = [earlier / stage, earlier, earlier / self.last_stage(run)]
            folder = next((place for place in places if (place / model).is_file()), places[0])
            return {"start": str(folder / model), "start_config": str(folder / config)}
        if stage != "stage2":
            return {"start": [], "start_config": []}
        place = {"dataset": dataset, "run": self.first_stage_run(run, dataset), "seed": seed, "stage": "stage1"}
        return {"start": layout.fill(layout.MODEL, **place), "start_config": layout.fill(layout.MODEL_CONFIG, **place)}

    def earlier(self, dataset: str, run: str) -> Path | None:
        """The folder of ``train.start``, if the run is trained."""
        found = self.on(dataset, run)
        return Path(found.train.start) if found.train.start is not None and found.model.seeded else None

    def _expect_another_start(self, dataset: str, run: str) -> None:
        """Refuse to start a training from what it writes itself.

        Raises:
            DecorecError: ``train.start`` is in the folder of this run, or in that of the model for production.
        """
        earlier = self.earlier(dataset, run)
        written = (f"{dataset}/runs/{run}/", f"{dataset}/production/")
        if earlier is not None and f"{layout.place_of(earlier)}/".startswith(written):
            raise DecorecError(
                f"runs.{run}.train.start: expected an earlier checkpoint, found {earlier}, which this configuration "
                "writes; copy the folder out of results/, such as to earlier/, and name the copy"
            )

    @staticmethod
    def priority(stage: str) -> int:
        """Priority of a training: above evaluations, and highest for stage 1, because stage 2 waits for it."""
        return 2 if stage == "stage1" else 1

    def probed(self, dataset: str, run: str) -> dict[str, Any]:
        """Input files of the training that the step gradient-probe measures."""
        return self._without_start(self.training(dataset, run, "fit"))

    def held_out(self, dataset: str) -> dict[str, Any]:
        """Input files of the step new-items: those that every other file of a training is made from."""
        modalities = self.modalities(dataset)
        return {
            "vocab": layout.fill(layout.VOCAB, dataset=dataset),
            "sequences": layout.fill(layout.SEQUENCES, dataset=dataset),
            "features": [layout.fill(layout.FEATURES, dataset=dataset, modality=name) for name in modalities],
        }

    def tuning(self, dataset: str, run: str) -> dict[str, Any]:
        """Input files of all stages of a run together."""
        return self._without_start(self.training(dataset, run, self.last_stage(run)))

    @staticmethod
    def _without_start(files: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in files.items() if not name.startswith("start")}

    def space(self, run: str) -> str:
        """The search space of tuning, as JSON."""
        return json.dumps(self.runs[run].model.space, sort_keys=True)

    def evaluated(self, dataset: str, run: str, seed: str) -> dict[str, str]:
        """The files of the trained model that is evaluated."""
        place = {"dataset": dataset, "run": run, "seed": seed, "stage": self.last_stage(run)}
        return {"model": layout.fill(layout.MODEL, **place), "config": layout.fill(layout.MODEL_CONFIG, **place)}

    def _read(self, dataset: str) -> Dataset:
        """What is said of reading a data set: not its name in the paper's tables, which they alone ask for."""
        return self.config.datasets[dataset].model_copy(update={"paper": None})

    def _atomic(self, dataset: str) -> AtomicDataset:
        section = self._read(dataset)
        assert isinstance(section, AtomicDataset)
        return section


def _own_files(section: FolderDataset) -> list[str]:
    """The files that a source of the user's own is read from; where they cannot be told, the step ingest says why."""
    from decorec.acquire.sources.registry import open_tables

    try:
        return list(dict.fromkeys(map(str, open_tables(section).paths())))
    except DecorecError:
        return []


def _has_pictures(section: FolderDataset) -> bool:
    """Whether some item has a picture; where the table cannot be read, the step ingest says why."""
    from decorec.acquire.sources.registry import open_tables

    try:
        return open_tables(section).has_pictures()
    except DecorecError:
        return True
