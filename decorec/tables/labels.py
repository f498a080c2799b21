"""Names: what runs and data sets are called in print, and what the paper calls them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import RootModel

from decorec.config.data import PaperDataset

__all__ = ["LABELS", "Label", "PaperNames", "label", "paper_name"]


@dataclass(frozen=True)
class Label:
    """Names of one run."""

    text: str
    """In printed tables."""
    paper: str
    """Of the paper's row that it is read against, spelt as in paper.yaml."""


LABELS: dict[str, Label] = {
    "decorec": Label("DeCoRec (as described)", "decorec"),
    "decorec-released": Label("DeCoRec (preset of the released code)", "decorec"),
    "sasrec": Label("SASRec (full cross-entropy)", "sasrec"),
}
"""Run -> names. A run that is not here is printed, and looked up in the paper, under its own name."""


def label(run: str) -> str:
    """What ``run`` is called in print."""
    return LABELS[run].text if run in LABELS else run


def paper_name(run: str) -> str:
    """Model or variant of the paper that ``run`` is read against; the paper need not have it."""
    return LABELS[run].paper if run in LABELS else run


class PaperNames(RootModel[dict[str, PaperDataset | None]]):
    """Data set -> its name in the paper's tables, or null if the paper does not have it."""

    def of(self, dataset: str) -> str | None:
        """The name of ``dataset`` in the paper."""
        return self.root.get(dataset)
