"""The steps of the pipeline: each is a function that the command line and the workflow run by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

__all__ = ["STEPS", "Step", "step_function"]


@dataclass(frozen=True)
class Step:
    """Module and summary of a step."""

    phase: str
    module: str
    """Contains the function with the step's name (with underscores for hyphens)."""
    summary: str
    exact: bool = False
    """Whether no digit of its results depends on the processor; all others are pinned by the key reproducible."""


STEPS: dict[str, Step] = {
    "sample": Step("acquire", "decorec.acquire.sample.shop", "generate the sample shop", exact=True),
    "download": Step("acquire", "decorec.acquire.download", "fetch reviews and metadata", exact=True),
    "ingest": Step("acquire", "decorec.acquire.ingest", "read and clean interactions and items", exact=True),
    "histories": Step("acquire", "decorec.acquire.histories", "read what every customer bought", exact=True),
    "crawl": Step("acquire", "decorec.acquire.crawl.step", "fetch the pictures of the items", exact=True),
    "features": Step("features", "decorec.features.step", "encode texts and pictures"),
    "split": Step("prepare", "decorec.prepare.split", "take the k-core and make each user's sequence", exact=True),
    "atomic": Step("prepare", "decorec.prepare.atomic", "read the given splits of an atomic data set", exact=True),
    "atomic-features": Step(
        "prepare", "decorec.features.atomic", "read one given feature file of an atomic data set", exact=True
    ),
    "cooccurrence": Step(
        "prepare", "decorec.prepare.cooccurrence", "count which items occur together in training", exact=True
    ),
    "cluster": Step("prepare", "decorec.prepare.clustering", "cluster the enriched features of one modality"),
    "whole-sequences": Step(
        "prepare", "decorec.prepare.whole_sequences", "put all interactions into the training part", exact=True
    ),
    "train": Step("training", "decorec.training.steps", "train one stage of a run with one seed"),
    "tune": Step("training", "decorec.training.tuning", "try values of a run on validation items"),
    "new-items": Step("training", "decorec.training.held_out_items", "rank items that a run was not trained with"),
    "gradient-probe": Step("training", "decorec.training.gradient_probe", "measure gradients during a training"),
    "evaluate": Step("evaluation", "decorec.evaluation.evaluate", "rank all items for every user"),
    "modality-modes": Step(
        "evaluation", "decorec.evaluation.modality_modes", "rank by each modality and by all together"
    ),
    "neighbour-recall": Step("evaluation", "decorec.evaluation.neighbour_recall", "find next items without training"),
    "recommend": Step("recommend", "decorec.recommend.step", "give customers the best items after their histories"),
    "add-items": Step("recommend", "decorec.recommend.add_items", "let a trained run recommend new items as well"),
    "model-card": Step("recommend", "decorec.recommend.card", "say what the model for production is", exact=True),
    "export": Step("recommend", "decorec.export.step", "write a trained run as vectors, ONNX, or a folder to move"),
    "serve": Step("recommend", "decorec.serve.server", "answer over HTTP with a trained run"),
    "comparison-table": Step(
        "tables", "decorec.tables.comparison", "compare models, ablations or other groups of runs"
    ),
    "external-table": Step("tables", "decorec.tables.external", "compare recommendations of other programs"),
    "leaderboard-table": Step("tables", "decorec.tables.leaderboard", "order the models of the main table"),
    "statistics-table": Step("tables", "decorec.tables.statistics", "count users, items and interactions"),
    "colditems-table": Step("tables", "decorec.tables.colditems", "compare targets without a training interaction"),
    "newitems-table": Step("tables", "decorec.tables.newitems", "compare runs on items held out of their training"),
    "coldstart-table": Step("tables", "decorec.tables.coldstart", "compare users with few interactions and others"),
    "beyond-table": Step("tables", "decorec.tables.beyond", "measure what is recommended, beyond accuracy"),
    "recall-table": Step("tables", "decorec.tables.recall", "count next items found without training"),
    "retrieval-table": Step("tables", "decorec.tables.retrieval", "compare the modes of scoring"),
    "cost-table": Step("tables", "decorec.tables.cost", "collect time, memory and parameters"),
    "claims-table": Step("tables", "decorec.tables.claims", "test the paper's claims"),
    "sensitivity-table": Step("tables", "decorec.tables.sensitivity", "compare values of one key of the reference"),
    "curves-table": Step("tables", "decorec.tables.curves", "collect validation metrics by epoch"),
    "gradients-table": Step("tables", "decorec.tables.gradients", "collect the measured gradients"),
    "embedding-table": Step("tables", "decorec.tables.embedding", "place items in two dimensions"),
    "advantages-table": Step("tables", "decorec.tables.advantages", "compare runs of the same model"),
    "gates-table": Step("tables", "decorec.tables.gates", "collect the learned gates by layer"),
    "tuning-table": Step("tables", "decorec.tables.trials", "collect the trials of a data set"),
    "tuned": Step("tables", "decorec.tables.trials", "write the best values as an overlay of the configuration"),
    "verdict": Step("tables", "decorec.tables.verdict", "say whether text and pictures help, and which model to take"),
    "results-page": Step("tables", "decorec.tables.results_page", "write the page of results (Markdown)"),
    "figure": Step("figures", "decorec.figures.step", "draw one figure from its tables"),
    "gallery": Step("report", "decorec.report.gallery", "collect recommendations to some users"),
    "report-page": Step("report", "decorec.report.step", "write the report (html)"),
    "init": Step("configuration", "decorec.project.init", "begin a folder of one's own with the installed workflow"),
    "estimate": Step("configuration", "decorec.plan.estimate", "say what a call of Snakemake would cost"),
    "status": Step("configuration", "decorec.plan.status", "say what a call of Snakemake has done and does"),
    "doctor": Step("configuration", "decorec.plan.doctor", "say what this machine has of what a call needs"),
    "schema": Step("configuration", "decorec.config.root", "write the JSON schema of config.yaml"),
}
"""Name -> step. A step's module is imported when the step is run, so that only what it needs is loaded."""


def step_function(name: str) -> Callable[..., None]:
    """The function of a step."""
    function: Callable[..., None] = getattr(import_module(STEPS[name].module), name.replace("-", "_"))
    return function
