"""Paths of all files under results/ and logs/; they are defined only here.

A path is a pattern with wildcards in braces, as in the rules of the workflow. ``fill`` makes a path from a
pattern; ``wildcards_of`` finds the wildcards of a path. A step finds out from a file's path which data set, run and
seed the file belongs to, so that these need not be given again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from decorec.errors import DecorecError

__all__ = [
    "Place",
    "benchmark",
    "dataset_of",
    "described",
    "existing",
    "fill",
    "job_of",
    "log",
    "made_from",
    "of_dataset",
    "path_of",
    "picture_path",
    "place",
    "place_of",
    "results_of",
    "training_job",
    "training_state",
    "wildcards_of",
]

RESULTS = "results"
GUIDE = "results/README.md"
"""What the files under results/ are; the only one that is not computed."""
CACHE = "results/cache"
"""Downloads, pictures, encoded rows of features, states of trainings and trials; with these an interrupted step can
continue."""
BENCHMARKS = "results/benchmarks"
EPOCHS = "results/benchmarks/{dataset}/epochs.json"
"""Measured epochs of trainings, kept by the command estimate."""
STEP_LOG = "results/log.jsonl"
"""One line per finished step; read by nobody but people and the command status."""

SHOP = "results/{dataset}/shop"
SHOP_REVIEWS = f"{SHOP}/reviews.json.gz"
SHOP_META = f"{SHOP}/meta.json.gz"
SHOP_PICTURES = f"{SHOP}/pictures"
RAW_REVIEWS = "results/{dataset}/raw/reviews.jsonl.gz"
RAW_META = "results/{dataset}/raw/meta.jsonl.gz"
CHECKSUMS = "results/{dataset}/raw/checksums.json"
INTERACTIONS = "results/{dataset}/interactions.parquet"
CATALOGUE = "results/{dataset}/items.parquet"
COUNTS = "results/{dataset}/ingest.json"
IMAGES = "results/{dataset}/images.parquet"
HISTORIES = "results/{dataset}/histories.parquet"
ENCODER = "results/{dataset}/encoder.safetensors"
FEATURES = "results/{dataset}/features/{modality}.safetensors"
VOCAB = "results/{dataset}/vocab.parquet"
SEQUENCES = "results/{dataset}/sequences.parquet"
STATISTICS = "results/{dataset}/statistics.json"
COOCCURRENCE = "results/{dataset}/{variant}graph/cooccurrence.npz"
INTERESTS = "results/{dataset}/{variant}interests/{modality}.safetensors"
RECALL = "results/{dataset}/recall.parquet"
GALLERY = "results/{dataset}/gallery.json"
RECOMMENDATIONS = "results/{dataset}/recommendations.{ending}"
VERDICT = "results/{dataset}/verdict.md"
VERDICT_VALUES = "results/{dataset}/verdict.json"

RUN = "results/{dataset}/runs/{run}/seed-{seed}"
STAGE = f"{RUN}/{{stage}}"
MODEL = f"{STAGE}/model.safetensors"
HISTORY = f"{STAGE}/history.parquet"
MODEL_CONFIG = f"{STAGE}/config.json"
RANKS = f"{RUN}/ranks.parquet"
VALIDATION = f"{RUN}/validation.parquet"
LISTS = f"{RUN}/lists.parquet"
METRICS = f"{RUN}/metrics.json"
MODES = f"{RUN}/modes.parquet"
NEW_ITEMS = f"{RUN}/newitems.parquet"
GRADIENTS = f"{RUN}/gradients.parquet"

PRODUCTION = "results/{dataset}/production"
"""The model that is trained on all interactions, and what it is made from."""
PRODUCTION_SEQUENCES = f"{PRODUCTION}/sequences.parquet"
PRODUCTION_COOCCURRENCE = f"{PRODUCTION}/graph/cooccurrence.npz"
PRODUCTION_INTERESTS = f"{PRODUCTION}/interests/{{modality}}.safetensors"
PRODUCTION_MODEL = f"{PRODUCTION}/{{stage}}/model.safetensors"
PRODUCTION_HISTORY = f"{PRODUCTION}/{{stage}}/history.parquet"
PRODUCTION_CONFIG = f"{PRODUCTION}/{{stage}}/config.json"
PRODUCTION_STATE = f"{CACHE}/training/{{dataset}}/production/{{stage}}.safetensors"
PRODUCTION_CARD = f"{PRODUCTION}/card.md"

TENSORBOARD = "results/tensorboard/{dataset}/{run}/seed-{seed}/{stage}"
PRODUCTION_TENSORBOARD = "results/tensorboard/{dataset}/production/{stage}"
"""Curves of a training; no step reads them."""

EXPORT = "results/{dataset}/export/{run}"
SELF_CONTAINED = f"{EXPORT}/self-contained"
"""A trained run as a folder that can be moved anywhere."""
ADDED = "results/{dataset}/added/{run}"
"""A trained run with new items."""

TRIALS = "results/tuning/{dataset}/{run}.parquet"
TRIALS_TABLE = "results/tuning/{dataset}.csv"
NEW_ITEMS_STATE = f"{CACHE}/newitems/{{dataset}}/{{run}}/seed-{{seed}}"
STUDY = f"{CACHE}/tuning/{{dataset}}/{{run}}"

TABLE = "results/tables/{table}.csv"
TABLE_TEX = "results/tables/{table}.tex"
TABLE_HTML = "results/tables/{table}.html"
TABLE_MD = "results/tables/{table}.md"
FIGURE_SVG = "results/figures/{name}.svg"
FIGURE_PDF = "results/figures/{name}.pdf"
PAGE = "results/report/{page}.html"
RESULTS_PAGE = "results/results.md"

VARIANT = "runs/{run}/"
"""Wildcard ``variant`` of a graph or of interests that belong to a run; "" for those of the base sections."""

TAKEN = ("benchmarks", "cache", "figures", "report", RESULTS, "tables", "tensorboard", "tuning")
"""Names that no data set can have: of the folders in results/ that belong to none, and of that folder itself."""

DESCRIBED = re.compile(
    r"(?!(?:tables|figures|report|tensorboard)/)(?:tuning/)?(?P<dataset>[a-z0-9][a-z0-9-]*)/"
    r"(?:(?:runs|export|added)/(?P<run>[a-z0-9-]+)(?:/seed-(?P<seed>\d+)(?:/(?P<stage>[a-z0-9]+)/)?)?)?"
)
"""What a place (``place_of``) says of its file."""


def log(job: str) -> str:
    """The log of a job; ``job`` is its name with wildcards, such as "{dataset}/split"."""
    return f"logs/{job}.log"


def job_of(file: Path) -> str | None:
    """The name of the job whose log is ``file``; None for another file."""
    start, end = log("|").split("|")
    name = file.as_posix()
    return name[len(start) : -len(end)] if name.startswith(start) and name.endswith(end) else None


def benchmark(job: str, folder: str = BENCHMARKS) -> str:
    """Seconds and memory of a job, as its step measures them; ``job`` as for ``log``."""
    return f"{folder}/{job}.tsv"


def training_job(stage: str = "{stage}") -> str:
    """Name of the job that trains one stage of a run, or evaluates it: for ``log`` and ``benchmark``."""
    return f"{{dataset}}/runs/{{run}}/seed-{{seed}}/{stage}"


def training_state(stage: str = "{stage}") -> str:
    """The kept state of the training job ``training_job(stage)``."""
    return f"{CACHE}/training/{training_job(stage)}.safetensors"


def fill(pattern: str, **wildcards: object) -> str:
    """The path that ``pattern`` describes."""
    return pattern.format(**wildcards)


def wildcards_of(path: Path, pattern: str) -> dict[str, str]:
    """The wildcards of ``pattern`` in ``path``; the end of the path must match the pattern from the data set on.

    Raises:
        DecorecError: the path does not match.
    """
    ending = pattern.removeprefix("results/")
    names = re.findall(r"{(\w+)}", ending)
    expression = re.escape(ending)
    for name in names:
        expression = expression.replace(rf"\{{{name}\}}", rf"(?P<{name}>[^/]+)", 1)
    match = re.search(rf"(?:^|/){expression}$", path.as_posix())
    if match is None:
        shown = re.sub(r"{(\w+)}", lambda name: name[1].upper(), ending).replace("seed-SEED", "seed-N")
        raise DecorecError(
            f"{path}: expected a path that ends in {shown}, found another path; pass the files that the steps "
            "of the workflow write"
        )
    return match.groupdict()


def place_of(path: Path) -> str:
    """What identifies an artifact: its path from results/ on; empty for a file elsewhere, in the cache or measured."""
    parts = path.parts
    rest = parts[len(parts) - parts[::-1].index(RESULTS) :] if RESULTS in parts else ()
    return "" if not rest or f"{RESULTS}/{rest[0]}" in (CACHE, BENCHMARKS) else "/".join(rest)


def path_of(place: str) -> str:
    """The path of the artifact in ``place`` (see ``place_of``), from the working directory on."""
    return f"{RESULTS}/{place}"


def results_of(path: Path) -> tuple[Path, str] | None:
    """For a file or folder under results/DATASET/: the folder that holds results/, and the data set; else None."""
    parts = path.absolute().parts
    if RESULTS not in parts[:-1]:
        return None
    begin = len(parts) - 1 - parts[::-1].index(RESULTS)
    return (Path(*parts[:begin]), parts[begin + 1]) if begin + 1 < len(parts) else None


def of_dataset(path: Path, pattern: str, **wildcards: str) -> Path | None:
    """What ``pattern`` names of the data set of a file or folder under results/DATASET/; None for one elsewhere.

    ``wildcards``: those of the pattern but for dataset.
    """
    found = results_of(path)
    return None if found is None else found[0] / fill(pattern, dataset=found[1], **wildcards)


def existing(path: Path, pattern: str) -> Path | None:
    """The same, where it is there."""
    found = of_dataset(path, pattern)
    return found if found is not None and found.exists() else None


def described(path: Path) -> dict[str, str]:
    """Data set, run, seed and stage of a file or folder under results/, as far as its path says them."""
    found = DESCRIBED.match(place_of(path))
    return {} if found is None else {name: value for name, value in found.groupdict().items() if value is not None}


def made_from(run: Path, pattern: str) -> Path:
    """Where a step writes what it makes from the folder of a run, if nothing else is asked for.

    Args:
        run: a folder under results/DATASET/: of a run and seed, or the one for production, or of one of their stages.
        pattern: with the wildcards dataset and run.

    Raises:
        DecorecError: the run does not lie in results/.
    """
    _, *kind = place_of(run.absolute()).split("/")
    name = kind[1] if len(kind) > 1 and kind[0] in ("runs", "added", "export") else "".join(kind[:1])
    found = of_dataset(run, pattern, run=name)
    if found is None:
        raise DecorecError(f"{run}: expected a run in results/, or --output, found neither; say where to write")
    return found


def dataset_of(path: Path) -> str:
    """The data set that a file directly under results/DATASET/ belongs to."""
    return path.parent.name


@dataclass(frozen=True)
class Place:
    """Data set, run, seed and stage of a file."""

    dataset: str
    run: str
    seed: int
    stage: str
    """Empty for a file that belongs to all stages of a run."""


def place(path: Path, pattern: str) -> Place:
    """Data set, run, seed and stage of the file ``path``; ``pattern`` is one of the patterns under ``RUN``.

    Raises:
        DecorecError: the path does not match, or the seed is not a number.
    """
    found = wildcards_of(path, pattern)
    if not found["seed"].isdecimal():
        raise DecorecError(f"{path}: expected a folder seed-N with a number N, found seed-{found['seed']}; rename it")
    return Place(found["dataset"], found["run"], int(found["seed"]), found.get("stage", ""))


def picture_path(cache: Path, sha256: str) -> Path:
    """The stored picture, under the cache folder, whose original file has the checksum ``sha256``."""
    return cache / "images" / sha256[:2] / f"{sha256}.jpg"
