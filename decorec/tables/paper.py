"""Values from others: those printed in the paper, and those measured with its authors' released code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from decorec.config.base import Section

__all__ = [
    "Figures",
    "Paper",
    "PaperTable",
    "Released",
    "Stated",
    "paper",
    "paper_figure",
    "paper_statistics",
    "released_figures",
]

Rows = Mapping[str, list[float]]


class PaperStatistics(Section):
    """Table 1: data set -> values in the order of ``columns``."""

    table: int
    columns: list[str]
    rows: Rows


class PaperTable(Section):
    """A table of results: model, variant or view -> data set -> values in the order of ``columns``."""

    table: int
    columns: list[str]
    rows: Mapping[str, Rows]


class Figures(Section):
    """Metric -> mean over seeds, and metric -> sample standard deviation over seeds, if known."""

    mean: Mapping[str, float]
    std: Mapping[str, float]


class Released(Section):
    """Measurements of the released code: data set -> stage -> values."""

    seeds: int
    rows: Mapping[str, Mapping[Literal["stage1", "stage2"], Figures]]


class Stated(Section):
    """Numbers that stand in the paper's text."""

    fusion_loss_percent: tuple[float, float]
    """Section 1: what naive fusion loses, at least and at most."""
    best_epoch_of_ids: float
    """Section 3: where models of ids alone are best, "around"."""


class Paper(Section):
    """Content of paper.yaml."""

    statistics: PaperStatistics
    main: PaperTable
    retrieval: PaperTable
    ablations: PaperTable
    stated: Stated
    released: Released


@cache
def paper() -> Paper:
    """All values; read once per process."""
    import yaml

    return Paper.model_validate(
        yaml.safe_load(files("decorec.tables").joinpath("paper.yaml").read_text(encoding="utf-8"))
    )


def paper_figure(table: Literal["main", "ablations"], dataset: str | None, name: str, metric: str) -> float | None:
    """The value that the paper prints, or None if it prints none.

    Args:
        table: its main table (2) or its ablations (4).
        dataset: the data set's name in the paper; None: the paper does not have it.
        name: model or variant, spelt as in paper.yaml.
        metric: as the paper names it, e.g. "NDCG@10"; its cut-offs were most likely 11 and 51.
    """
    source: PaperTable = getattr(paper(), table)
    row = source.rows.get(name, {}).get(dataset or "")
    if row is None or metric not in source.columns:
        return None
    return row[source.columns.index(metric)]


def paper_statistics(dataset: str | None) -> dict[str, float]:
    """Table 1's row of ``dataset`` by column (items, interactions, sparsity_percent); empty if it has none."""
    source = paper().statistics
    return dict(zip(source.columns, source.rows.get(dataset or "", []), strict=False))


def released_figures(dataset: str | None) -> Figures | None:
    """Results of the released code after its second stage, over ``paper().released.seeds`` seeds; None if not run."""
    stages = paper().released.rows.get(dataset or "")
    return stages["stage2"] if stages else None
