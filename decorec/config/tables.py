"""Which runs stand in which table, and what the page shows."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Section

__all__ = ["KNOBS", "ReportConfig", "TablesConfig"]

KNOBS = {"alpha": "model.alpha", "tau": "model.temperature", "clusters": "interests.ratio"}
"""Table of sensitivity -> key of a run whose values it compares."""


class TablesConfig(Section):
    """Which runs stand in which table."""

    main: list[str] = ["decorec", "sasrec"]
    """Runs of the main table, in order of their rows."""
    ablations: list[str] = []
    """Runs of the table of ablations, in order of their rows."""
    retrieval: list[str] = []
    """Runs of DeCoRec in the table of modes of scoring: by image, by text, by both apart, by both across."""
    fusion: list[str] = []
    """Runs of the table of fusion: ids alone, modalities alone, both naively, in order of their rows."""
    alpha: list[float] = []
    """Values of model.alpha in the table of sensitivity to it: each is a run that differs from the reference in that
    value alone. The reference's own is always among them; a run that has the values already is not computed twice."""
    tau: list[float] = []
    """The same for the temperature (model.temperature)."""
    clusters: list[float] = []
    """The same for the number of clusters per item (interests.ratio)."""
    sensitivity_seeds: int = Field(2, ge=1)
    """How many of the seeds, the first ones, the tables of sensitivity use."""
    gradients: list[str] = []
    """Runs whose gradients are drawn: DeCoRec with ids and modalities trained in one stage. Each is trained once more
    with the first seed, so that the training that is measured elsewhere is not slowed by looking."""
    probe_every: int = Field(10, ge=1)
    """Steps between two looks at the gradients, after the first 50 steps, which are all looked at."""
    embedding: list[str] = []
    """Runs of DeCoRec whose representations of items are drawn (t-SNE, first seed), side by side."""
    reference: str = "decorec"
    """Run that every other one is tested against."""
    variants: list[str] = ["decorec-plus"]
    """Runs that the page of results compares with every other one as well, those of them that the main table has. They
    are not tuned: what is chosen for their model holds for them."""
    baseline: str = "sasrec"
    """Run that the gains on cold users are counted from, if the main table has it."""
    cold: float = Field(0.4, gt=0, lt=1)
    """Share of the users that counts as cold: those with the fewest training interactions."""
    predictions: int = Field(10, ge=1)
    """Predictions per user, on average, in the table of recall."""


class ReportConfig(Section):
    """The page with everything."""

    runs: list[str] = ["decorec", "sasrec"]
    """Runs whose recommendations are shown side by side; those that do not exist are left out."""
    users: int = Field(6, ge=1, le=100)
    """Users shown per data set, drawn at random."""
