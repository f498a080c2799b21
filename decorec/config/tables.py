"""Sections of the tables and of the report."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Distinct, Section

__all__ = ["KNOBS", "LISTS", "ReportConfig", "TablesConfig"]

KNOBS = {"alpha": "model.alpha", "tau": "model.temperature", "clusters": "interests.ratio"}
"""Table of sensitivity -> key of a run whose values it compares."""


LISTS = (
    "main",
    "ablations",
    "retrieval",
    "fusion",
    "readings",
    "gradients",
    "embedding",
    "advantages",
    "gates",
    "newitems",
)
"""Tables that name their runs."""


class TablesConfig(Section):
    """Runs and values of each table."""

    main: Distinct[str] = ["decorec", "sasrec"]
    """Runs of the main table, in order of their rows."""
    ablations: Distinct[str] = []
    """Runs of the table of ablations, in order of their rows."""
    retrieval: Distinct[str] = []
    """Runs of DeCoRec in the table of modes of scoring: by image, by text, by their sum, by the full score."""
    fusion: Distinct[str] = []
    """Runs of the table of fusion (ids only, modalities only, naive fusion), in order of their rows."""
    readings: Distinct[str] = []
    """Runs of the table of other readings of the paper's equations, in order of their rows. They are no ablations of
    the paper, so they take no part in the correction of its claims."""
    alpha: list[float] = []
    """Values of model.alpha in its table of sensitivity: each is a run that differs from the reference only in that
    value. The reference's own value is always one of them; a run with the same values is not computed twice."""
    tau: list[float] = []
    """The same for the temperature (model.temperature)."""
    clusters: list[float] = []
    """The same for the number of clusters per item (interests.ratio)."""
    sensitivity_seeds: int = Field(2, ge=1)
    """Number of seeds, from the first, that the tables of sensitivity use."""
    gradients: Distinct[str] = []
    """Runs whose gradients are drawn: DeCoRec with ids and modalities trained in one stage. Each is trained again
    with the first seed, so that the measurement does not slow down the training whose time is measured."""
    gradient_seeds: int = Field(1, ge=1)
    """Number of seeds, from the first, whose gradients the paper's claims of figure 3 are tested with. One tells
    nothing of the spread: these claims then stay untested, and nothing is trained for them. The figure shows the
    first."""
    probe_every: int = Field(10, ge=1)
    """Number of steps between two measurements of the gradients, after the first 50 steps, which are all measured."""
    embedding: Distinct[str] = []
    """Runs of DeCoRec whose representations of items are drawn (t-SNE, first seed), side by side."""
    advantages: Distinct[str] = []
    """Runs of the table of advantages: of each model its own run first, then the same with what others were given, such
    as a horizon or experts. Runs of one model stand one after another. The page of results shows it."""
    advantages_seeds: int | None = Field(None, ge=1)
    """Number of seeds of that table, the first ones; all by default."""
    newitems: Distinct[str] = []
    """Runs of the table of new items: each is trained again with every seed, without some of the items, which are then
    added without training."""
    held_out: float = Field(0.05, gt=0, lt=1)
    """Share of the items that are held out for it, drawn at random."""
    gates: Distinct[str] = []
    """Runs of DeCoRec whose learned gates (eq. 2) are shown by layer, over all seeds."""
    verdict: str | None = None
    """Run of DeCoRec that verdict.md compares with the same run without modalities, and with each of them alone. These
    runs differ from it in model.modalities alone, on every data set; a declared run with the same values is used."""
    smallest_effect: float = Field(0.01, gt=0, lt=1)
    """Smallest difference in Hit@10 that matters: 0.01 is 10 of 1,000 customers. The verdict says no where a larger
    gain is ruled out, and counts the customers that a difference of this size needs."""
    reference: str = "decorec"
    """Run that all others are tested against."""
    variants: Distinct[str] = ["decorec-plus"]
    """Further runs that the page of results compares with all others, if they are in the main table. They are not
    tuned: they use the values that are chosen for their model."""
    baseline: str = "sasrec"
    """Run that gains on cold users are computed against, if it is in the main table."""
    cold: float = Field(0.4, gt=0, lt=1)
    """Share of the users that count as cold: those with the fewest training interactions."""
    predictions: int = Field(10, ge=1)
    """Mean number of predictions per user in the table of recall."""


class ReportConfig(Section):
    """The report."""

    runs: Distinct[str] = ["decorec", "sasrec"]
    """Runs whose recommendations are shown side by side; runs that do not exist, or that need a modality which the data
    set has no features of, are left out."""
    users: int = Field(6, ge=1, le=100)
    """Number of users shown per data set, drawn at random."""
