"""The figures by name: the tables that each is drawn from, its caption, and the function that draws it.

The plan of the workflow reads this: nothing here loads a library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decorec.figures import drawings
from decorec.figures.panels import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Drawing"]

SWEPT = (
    "DeCoRec with other values of this one, everything else as it is; the ring is its own value. Values are chosen on "
    "validation; test is for looking on. Mean over the seeds of the table, whiskers: standard deviation over them, "
    "band: bootstrap interval over users (test)."
)
"""What the captions of the figures of sensitivity have in common."""


@dataclass(frozen=True)
class Drawing:
    """A figure: the tables that it is drawn from, what it shows, and how."""

    tables: tuple[str, ...]
    caption: str
    draw: Callable[[Tables], Figure]


FIGURES: dict[str, Drawing] = {
    "fig2": Drawing(
        ("curves",),
        "Validation by epoch: training on ids alone and on modalities alone (figure 2 of the paper). Mean over the "
        "seeds that reached the epoch, band: standard deviation, dots: best epochs.",
        drawings.curves,
    ),
    "fig3": Drawing(
        ("gradients",),
        "Gradients of ids and modalities in joint training (figure 3 of the paper), training items, first seed. "
        "Together: cosine of what a step on the ids and a step on the adapters would do to the representations of the "
        "items. Each alone: cosine of the gradients at items that are ids only and at items that are modalities only. "
        "Right: norms of the gradients of both parts' parameters, before clipping. Strong lines: running means over 9 "
        "measured steps.",
        drawings.gradients,
    ),
    "fig4": Drawing(
        ("fusion",),
        "Ids, modalities and naive fusion (figure 4 of the paper), test items, all seeds. Whiskers: bootstrap interval "
        "over users.",
        drawings.fusion,
    ),
    "fig6": Drawing(
        ("embedding",),
        "Representations of the items after training, t-SNE by cosine distance, without and with interest embeddings "
        "(figure 6 of the paper); first seed, at most 1,000 items per data set. Colour: the six largest interests by "
        "text, grey: all others. Silhouette: of all interests in the representation itself.",
        drawings.embedding,
    ),
    "fig7": Drawing(
        ("retrieval",),
        "One trained model scored by image, by text, by both apart and by both across (figure 7 of the paper), test "
        "items, all seeds. Whiskers: bootstrap interval over users.",
        drawings.modes,
    ),
    "fig8": Drawing(
        ("retrieval",),
        "Scoring by one modality, with and without the other one in training (figure 8 of the paper), test items, all "
        "seeds. Whiskers: bootstrap interval over users.",
        drawings.single,
    ),
    "fig9": Drawing(
        ("coldstart",),
        "Improvement over the baseline, by user group (figure 9 of the paper), test items, all seeds.",
        drawings.cold,
    ),
    **{
        knob: Drawing((knob,), f"Sensitivity to {name}. {SWEPT}", drawings.sensitivity(knob))
        for knob, name in drawings.SYMBOLS.items()
    },
    "pareto": Drawing(
        ("main", "cost"),
        "Quality (test items, all seeds) against training time (of one seed); the line joins what nothing beats.",
        drawings.pareto,
    ),
}
"""Name -> figure. A new one is one function and one entry here."""
