"""What a job will cost: from measurements in the folder of results, else from measured values per unit of size."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from decorec.artifacts import layout
from decorec.config.runs import Run
from decorec.config.training import StageConfig, TrainConfig
from decorec.features.at_once import MOST_PAIRS
from decorec.plan.jobs import Job

__all__ = [
    "COMPUTER",
    "Cost",
    "Costs",
    "Epoch",
    "Size",
    "keep_epochs",
    "kept_epochs",
    "measurement",
    "size_of",
    "size_of_sample",
    "stages_of",
    "values_of",
]

COMPUTER = "one core of an AMD EPYC with AVX-512"
"""Where the values below were measured, on the sample shop and Scientific."""
START = 0.3
"""Processor seconds of a step that needs torch, besides what it computes, where it is a fork of a process that has
imported torch (see ``decorec.prefork``)."""
BASE = 650.0
"""Its memory, in MB."""


@dataclass(frozen=True)
class Rate:
    """A model in training."""

    tokens: float
    """Processor seconds of an epoch for 1,000 training interactions."""
    items: float
    """The same for 1,000 training interactions and 1,000 items: what the scores of all items add."""
    useful: int
    """Epochs up to the best one; training ends ``patience`` epochs later."""
    memory: float = 900.0
    """Largest memory, in MB."""


RATES = {
    "decorec stage1": Rate(0.11, 0.19, 28, 1_100.0),
    "decorec stage2": Rate(0.15, 0.13, 8, 1_000.0),
    "sasrec fit": Rate(0.11, 0.06, 28, 1_050.0),
    "bert4rec fit": Rate(0.25, 0.3, 8, 1_500.0),
    "unisrec fit": Rate(0.16, 0.24, 25, 1_200.0),
    "missrec fit": Rate(0.24, 0.25, 42, 1_900.0),
    "mmmlp fit": Rate(1.05, 0.1, 28, 1_500.0),
    "dimo fit": Rate(0.09, 0.04, 32, 800.0),
    "esasrec fit": Rate(0.2, 0.12, 28, 1_000.0),
    "gru4rec fit": Rate(0.1, 0.04, 28, 700.0),
    "sasrec-features fit": Rate(0.13, 0.07, 28, 900.0),
}
"""Model and stage -> its rate, by `decorec estimate --measure` on Scientific and the sample shop's measured jobs."""
OTHER = Rate(0.4, 0.2, 25, 1_500.0)
"""The rate of every other model."""
WAITING = ("crawl", "download")
"""Steps that wait for servers: their time by the clock is not that of the processor."""


@dataclass(frozen=True)
class Size:
    """A data set in numbers."""

    users: float
    items: float
    training: float
    """Interactions of the training part."""
    source: str

    def __str__(self) -> str:
        return f"{self.users:,.0f} users, {self.items:,.0f} items, {self.training:,.0f} training interactions"


@dataclass(frozen=True)
class Epoch:
    """A measured epoch: seconds before the first one and of each one, and memory in MB."""

    start: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor, and of the clock on a free core; memory in MB; what they come from."""

    processor: float
    clock: float
    memory: float
    source: str
    epochs: int = 0
    """Expected number of epochs of a training."""
    epoch: float = 0.0
    """Seconds of each."""


WHOLE_RUNS = "tune", "new-items"
"""Steps that train all stages of a run."""
EARLIER, MEASURED, TABLE = "earlier jobs here", "measured epochs", "rates"
"""Sources of a cost, best first."""


Earlier = tuple[int, int, dict[str, float]]
"""Best epoch, number of epochs, and measurement ({} if there is none) of a finished training."""


class Costs:
    """Costs of jobs in the working directory."""

    def __init__(self, sizes: Mapping[str, Size], epochs: Mapping[tuple[str, str], Epoch] | None = None) -> None:
        """``sizes``: data set -> its size; ``epochs``: (data set, ``values_of`` a training) -> its measured epoch."""
        self.sizes, self.epochs = sizes, epochs or {}
        self._known: dict[tuple[str, str, str], list[Earlier]] = {}

    def of(self, job: Job) -> Cost | None:
        """The cost of a job; None if it depends on the size of a data set, which is not known yet."""
        if job.step in ("train", "gradient-probe"):
            return self._training(job)
        if job.step in WHOLE_RUNS:
            return self._all_stages(job)
        return _measured_job(job) or self._by_size(job)

    def _training(self, job: Job) -> Cost | None:
        run = Run.model_validate_json(job.value("run"))
        stage = job.value("stage", "fit")
        return self.stage(job, run, stage)

    def stage(self, job: Job, run: Run, stage: str) -> Cost | None:
        """The cost of the training of a stage that a job needs."""
        config = run.train.stage(stage)
        place = (job.dataset, job.run, stage)
        if place not in self._known:
            self._known[place] = _earlier(*place)
        earlier = self._known[place]
        rate = RATES.get(f"{run.model.name} {stage}", OTHER)
        useful = median(best + 1 for best, _, _ in earlier) if earlier else rate.useful * _haste(config, stage)
        patience, least = (0, 0) if job.value("epochs-of") else (config.patience, config.least_epochs)
        epochs = min(config.epochs, max(round(useful) + patience, least)) if run.model.seeded else 1
        if (found := self._epoch(job, run, stage, earlier, rate)) is None:
            return None
        epoch, source = found
        seconds = START + epoch.start + epochs * epoch.seconds
        return Cost(seconds, seconds, epoch.memory, source, epochs, epoch.seconds)

    def _epoch(self, job: Job, run: Run, stage: str, earlier: list[Earlier], rate: Rate) -> tuple[Epoch, str] | None:
        finished = [(length, cost) for _, length, cost in earlier if cost]
        if finished:
            seconds = median(max(0.0, cost["cpu_time"] - START) / length for length, cost in finished)
            return Epoch(0.0, seconds, max(cost["max_rss"] for _, cost in finished)), EARLIER
        if (measured := self.epochs.get((job.dataset, values_of(run, stage)))) is not None:
            return measured, MEASURED
        if (size := self.sizes.get(job.dataset)) is None:
            return None
        if not run.model.seeded:
            return Epoch(0.0, 0.5 + 4e-11 * size.items**3, BASE + 16e-6 * size.items**2), TABLE
        seconds = size.training / 1e3 * (rate.tokens + rate.items * size.items / 1e3) * _width(run)
        return Epoch(0.0, seconds, rate.memory), TABLE

    def _all_stages(self, job: Job) -> Cost | None:
        """The cost of a job that trains all stages of a run, once or for each of its trials."""
        run = Run.model_validate_json(job.value("run"))
        trials = json.loads(job.value("settings", "{}")).get("trials", 1)
        stages = [self.stage(job, run, stage) for stage in run.stages]
        if any(cost is None for cost in stages):
            return None
        known = [cost for cost in stages if cost is not None]
        seconds = trials * sum(cost.processor - START for cost in known) + START
        return Cost(seconds, seconds, max(cost.memory for cost in known), known[0].source)

    def _by_size(self, job: Job) -> Cost | None:
        if job.phase in ("tables", "figures", "report"):
            return Cost(3.0, 3.0, 400.0, TABLE)
        if (size := self.sizes.get(job.dataset)) is None:
            return None
        seconds, memory = SIZED[job.step](job, size) if job.step in SIZED else (3.0, 300.0)
        rate = json.loads(job.value("settings"))["rate"] if job.step == "crawl" else float("inf")
        return Cost(seconds, max(seconds, size.items / rate), memory, TABLE)


def _haste(config: StageConfig, stage: str) -> float:
    """Epochs to the best one, as a share of those with the default learning rate: a larger one needs fewer."""
    return min(1.0, TrainConfig().stage(stage).learning_rate / config.learning_rate)


WIDTHS = ("dim", "sequence_hidden")
"""Keys of models that say how wide a layer is."""


def _width(run: Run) -> float:
    """Seconds of an epoch, as a share of those with the model's default widths: a quarter does not depend on them."""
    fields = type(run.model).model_fields
    shares = [float(getattr(run.model, key) / fields[key].default) for key in WIDTHS if key in fields]
    return 0.25 + 0.75 * prod(shares)


def _encoding(job: Job, size: Size) -> tuple[float, float]:
    settings = json.loads(job.value("settings"))
    if settings.get("encoder") == "fit":
        pairs = min(size.items, MOST_PAIRS)
        one = 0.005 * pairs * settings["epochs"] + 0.01 * size.items
        return 4 + one * settings.get("ensemble", 1), 1_200.0
    if settings.get("encoder") != "clip":  # a pinned one: what an earlier run has encoded is known
        return 6.0, 1_200.0
    return 6 + 0.2 * size.items, 2_000.0


def _scoring(job: Job, size: Size) -> tuple[float, float]:
    return START + 0.1 + 0.3 * size.users * size.items / 1e6, BASE + 100


SIZED: dict[str, Callable[[Job, Size], tuple[float, float]]] = {
    "ingest": lambda job, size: (1.7 + 0.02 * size.training / 1e3, 270.0),
    "crawl": lambda job, size: (2.5 + 0.006 * size.items, 500.0),
    "features": _encoding,
    "split": lambda job, size: (1.3 + 0.005 * size.training / 1e3, 240.0),
    "cooccurrence": lambda job, size: (1.5 + 0.02 * size.training / 1e3, 290.0),
    "cluster": lambda job, size: (1.8 + 0.5 * size.items / 1e3, 230.0),
    "evaluate": _scoring,
    "recommend": _scoring,
    "modality-modes": lambda job, size: (START + 4 * (_scoring(job, size)[0] - START), BASE + 100),
}
"""Step -> processor seconds and MB for a data set of a size; a step that is not listed takes 3 s and 300 MB."""


def stages_of(job: Job) -> list[tuple[Run, str]]:
    """The trainings that a job needs, as (run, stage)."""
    if job.step not in ("train", "gradient-probe", *WHOLE_RUNS):
        return []
    run = Run.model_validate_json(job.value("run"))
    return [(run, stage) for stage in (run.stages if job.step in WHOLE_RUNS else [job.value("stage", "fit")])]


def values_of(run: Run, stage: str) -> str:
    """A text that is the same for trainings whose epochs take as long, whatever the number of epochs."""
    values = run.for_stage(stage).dump()
    values["train"] = run.train.stage(stage).model_dump(mode="json", exclude={"epochs", "least_epochs", "patience"})
    return json.dumps([stage, values], sort_keys=True)


def size_of(dataset: str, jobs: list[Job]) -> Size | None:
    """The size of a data set: counted, or for the sample shop expected; None where neither is possible yet."""
    if facts := _json(layout.fill(layout.STATISTICS, dataset=dataset)):
        training = facts.get("split", {}).get("training", facts["interactions"] - 2 * facts["users"])
        return Size(facts["users"], facts["items"], training, "counted")
    if (facts := _json(layout.fill(layout.COUNTS, dataset=dataset))) and facts.get("filter"):
        last = facts["filter"][-1]
        training = max(0, last["interactions"] - 2 * last["users"])
        return Size(last["users"], last["items"], training, "counted before the last filter")
    for job in jobs:
        if job.dataset == dataset and (section := json.loads(job.value("dataset", "{}"))).get("source") == "sample":
            return size_of_sample(section["users"], section["items"])
    return None


def size_of_sample(users: int, items: int) -> Size:
    """What is left of the sample shop after the filter, of so many customers and products."""
    return Size(0.75 * users, 0.68 * items, 3.9 * users, "expected of the sample shop")


def kept_epochs(dataset: str, size: Size | None) -> dict[tuple[str, str], Epoch]:
    """Epochs of a data set of this size that ``keep_epochs`` has kept."""
    kept = _json(layout.fill(layout.EPOCHS, dataset=dataset)) or {}
    if size is None or kept.get("training") != size.training:
        return {}
    return {(dataset, values): Epoch(*found) for values, found in kept["epochs"].items()}


def keep_epochs(dataset: str, size: Size, epochs: Mapping[tuple[str, str], Epoch]) -> None:
    """Keep the measured epochs of a data set for later estimates."""
    from decorec.artifacts.files import write_json

    own = {
        values: [epoch.start, epoch.seconds, epoch.memory]
        for (name, values), epoch in epochs.items()
        if name == dataset
    }
    write_json(Path(layout.fill(layout.EPOCHS, dataset=dataset)), {"training": size.training, "epochs": own})


def _earlier(dataset: str, run: str, stage: str) -> list[Earlier]:
    """The finished trainings of a stage, over its seeds."""
    place = re.sub(r"{seed}", "*", layout.HISTORY).format(dataset=dataset, run=run, stage=stage)
    found = []
    for file in sorted(Path().glob(place)):
        import polars as pl

        try:
            best = pl.read_parquet(file, columns=["best"])["best"].to_list()
        except (OSError, pl.exceptions.PolarsError):
            continue  # half written: nothing is known from it
        if any(best):
            name = layout.training_job().format(**vars(layout.place(file, layout.HISTORY)))
            found.append((best.index(True), len(best), measurement(name)))
    return found


def _measured_job(job: Job) -> Cost | None:
    """The cost of the same job, or of its other seeds, as it was measured before."""
    pattern = re.sub(r"/seed-\d+/", "/seed-*/", layout.benchmark(job.name))
    names = [_name(file) for file in sorted(Path().glob(pattern))]
    found = [cost for cost in map(measurement, names) if cost]
    if not found:
        return None
    processor = median(cost["cpu_time"] for cost in found)
    clock = median(cost["s"] for cost in found) if job.step in WAITING else processor
    return Cost(processor, clock, max(cost["max_rss"] for cost in found), EARLIER)


def _name(file: Path) -> str:
    """The name of the job whose measurement a file is."""
    return file.relative_to(layout.BENCHMARKS).with_suffix("").as_posix()


def measurement(name: str) -> dict[str, float]:
    """What a job measured of itself: s, cpu_time, max_rss; {} where there is nothing that can be read."""
    try:
        with Path(layout.benchmark(name)).open(newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        return {key: float(rows[-1][key]) for key in ("s", "cpu_time", "max_rss")}
    except (OSError, KeyError, ValueError, IndexError, TypeError):
        return {}


def _json(file: str) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
