"""The figures by name: the tables that each is drawn from, its caption, and the function that draws it.

The plan of the workflow imports this module, so it loads no library.
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
    "DeCoRec with other values of this key; nothing else changes. The ring marks its own value. Values are chosen on "
    "validation items; test items are for information only. Mean over the seeds of the table; whiskers: standard "
    "deviation over seeds; band: bootstrap interval over users (test)."
)
"""Common part of the captions of the figures of sensitivity."""


@dataclass(frozen=True)
class Drawing:
    """A figure: its tables, its caption, and the function that draws it."""

    tables: tuple[str, ...]
    caption: str
    draw: Callable[[Tables], Figure]


FIGURES: dict[str, Drawing] = {
    "fig2": Drawing(
        ("curves",),
        "Validation metrics by epoch, training on ids only and on modalities only (figure 2 of the paper). Mean over "
        "the seeds that reached the epoch; band: standard deviation; dots: best epochs.",
        drawings.curves,
    ),
    "fig3": Drawing(
        ("gradients",),
        "Gradients of ids and modalities in joint training (figure 3 of the paper), training items, first seed. "
        "Together: cosine of the changes of the items' representations by a step on the ids and by a step on the "
        "adapters. Each alone: cosine of the gradients at items made of ids only and of modalities only. Right: norms "
        "of the gradients of both parts' parameters, before clipping. Strong lines: running means over 9 measured "
        "steps.",
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
        "text; grey: all others. Silhouette: of all interests, in the representation itself.",
        drawings.embedding,
    ),
    "fig7": Drawing(
        ("retrieval",),
        "One trained model scored by image, by text, by their sum and by the full score, and a model that is trained "
        "and scored within each modality alone (figure 7 of the paper), test items, all seeds. Whiskers: bootstrap "
        "interval over users.",
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
        "Quality (test items, all seeds) and training time (of one seed). The line connects the runs for which no "
        "other run is both better and faster.",
        drawings.pareto,
    ),
}
"""Name -> figure. A new one is one function and one entry here."""
