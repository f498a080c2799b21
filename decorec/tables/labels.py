"""Names: what runs and data sets are called in print, and what the paper calls them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import RootModel

from decorec.config.datasets import PaperDataset

__all__ = ["LABELS", "Label", "PaperNames", "label", "note", "paper_name", "short"]


@dataclass(frozen=True)
class Label:
    """Names of one run, and what it is. What was measured does not stand here: it is computed, or dated in the log. Nor
    do values that can be chosen on a data set, such as a width."""

    text: str
    """In printed tables."""
    paper: str
    """Of the paper's row that it is read against, spelt as in paper.yaml."""
    note: str = ""
    """What the run is, for the page of results."""
    paper_note: str = ""
    """What is known of the paper's row of the same name, for data sets that the paper has."""
    short: str = ""
    """In drawings, where the text without its brackets would not do."""


LABELS: dict[str, Label] = {
    "decorec": Label(
        "DeCoRec (as described)",
        "decorec",
        "Built from the paper's equations. The modalities are enriched inside the forward pass, one pass over a "
        "sequence trains all of its positions, Adam's moments start anew every epoch, and the weights are averaged.",
        "The paper gives one value without seeds.",
    ),
    "decorec-released": Label(
        "DeCoRec (preset of the released code)",
        "decorec",
        "What the authors' code computes where it differs from the paper: no enrichment of the modalities, "
        "co-occurrence over 1/(D+1) divided by both degrees, bare interest tables, ids and interests that are never "
        "trained, one row per prefix.",
        short="DeCoRec released",
    ),
    "decorec-plus": Label(
        "DeCoRec-plus (not in the paper)",
        "decorec",
        "A variant of this project, chosen on the validation items of all data sets together. It is trained to give "
        "the next three items, the k-th of which counts 1 / k. Its shares of the items are multiplied with two experts "
        "that are counted in the training part: exp(0.3 z), where z is the score of content-EASE, standardised over "
        "the items; and 1 + 0.3 q, where q is the co-occurrence of an item with the history in units of the mean over "
        "all items that co-occur with it. Where the history is kept, its items get the share that repeats had in "
        "training. The keys `experts` and `train.horizon` give the same to every other model.",
    ),
    "sasrec": Label(
        "SASRec (full cross-entropy)",
        "sasrec",
        "Trained with cross-entropy over all items, one pass over each sequence. The original samples one negative per "
        "position.",
        "The paper does not say which loss it used.",
    ),
    "bert4rec": Label(
        "BERT4Rec (corrected, full CE)",
        "bert4rec",
        "Half of the samples mask the last item alone, all masked positions count, and an epoch holds several passes "
        "with fresh masks, because the model is known to need long training.",
        "In the old library version behind the paper's code base the last training item is never predicted, no mask "
        "stands at the end of a sequence in training, position 0 drops out of the loss, and the output layer and its "
        "bias are missing.",
    ),
    "unisrec": Label(
        "UniSRec (text+ID, no pre-training)",
        "unisrec",
        "Trained from scratch on each data set, transductive, with the frozen text features that the other models have "
        "(on the paper's data, CLIP's). The published model starts from weights pre-trained on five other categories "
        "with BERT texts.",
        "The paper does not say whether its row is pre-trained.",
    ),
    "missrec": Label(
        "MISSRec (text+image+ID, no pre-training)",
        "missrec",
        "Trained from scratch on each data set; the published model is pre-trained on other categories. The "
        "regulariser sums real tokens only, and the clusters belong to the checkpoint.",
        "The paper does not say whether its row is pre-trained.",
    ),
    "mmmlp": Label(
        "MMMLP (frozen features)",
        "mmmlp",
        "A re-implementation. Its features come from the same frozen encoder as those of the other models, not from "
        "the published mixers over raw pixels and word vectors.",
        "The released code does not run as shipped, and has neither data nor settings for these categories.",
    ),
    "dimo": Label(
        "DIMO (corrected re-implementation, train-only graph, frozen features)",
        "dimo",
        "Made for sessions of one day. The released code overwrites its content features with random values, counts "
        "co-occurrences of test sessions, swaps arguments of one loss, trains without dropout after its first "
        "evaluation and prints its best test result. None of that is repeated here.",
        "Whether the paper's row has these faults is unknown.",
    ),
    "esasrec": Label(
        "eSASRec (LiGR, full softmax)",
        "esasrec",
        "Not in the paper. A re-implementation from its description: gated pre-norm layers with SwiGLU in place of "
        "SASRec's. The published model draws 256 negatives per position, counts positions from the newest item, and is "
        "tuned over smaller widths than 300.",
    ),
    "gru4rec": Label(
        "GRU4Rec (re-implementation, full softmax, BPTT)",
        "gru4rec",
        "Not in the paper. Trained with cross-entropy over all items after every item, with gradients through the "
        "whole window. The authors' code samples its negatives, cuts the gradient after every step and goes "
        "through parallel sessions; they hold that ratings, as in these categories, say little about the order of "
        "events.",
    ),
    "sasrec-features": Label(
        "SASRec + features (sum, both sides)",
        "sasrec-features",
        "Not in the paper. This project's SASRec, with linear maps of the frozen features of text and picture added to "
        "the id of an item, in the history and in the candidates.",
    ),
    "hm4sr": Label(
        "HM4SR (corrected re-implementation, frozen features)",
        "hm4sr",
        "Not in the paper. The experts that the time weighs are trained, the time enters as waves from a "
        "week to the whole training part, gaps are counted in the data's own unit, and the loss over categories is "
        "left out. The released code never trains these experts, and its absolute times lose their digits in float32.",
        short="HM4SR",
    ),
    "popularity": Label("Popularity", "popularity"),
    "item-knn": Label("Item-kNN (co-occurrence)", "item-knn"),
    "content-knn": Label(
        "Content-kNN (neighbours of the history by text and picture)",
        "content-knn",
        "Mean cosine of text and picture to the items of the history, later ones counting more.",
    ),
    "hybrid-knn": Label(
        "Hybrid-kNN (co-occurrence, text and picture)",
        "hybrid-knn",
        "Item-kNN and content-kNN, each divided by its largest score for the user.",
    ),
    "ease": Label(
        "EASE (later items count more)",
        "ease",
        "Ridge regression of each item on all others over the training users, in closed form. Every item of the "
        "history gives its coefficients, weighted by its distance to the target.",
    ),
    "content-ease": Label(
        "Content-EASE (text and picture as prior)",
        "content-ease",
        "EASE whose ridge pulls towards coefficients from text and picture: a re-implementation of L3AE with the "
        "features of the other models. Keys choose the other ways in, CEASE and Add-EASE.",
    ),
    "vstan": Label(
        "VSTAN (neighbours among sequences, no item scores itself)",
        "vstan",
        "Not in the paper. Made for sessions; here a session is the training sequence of one user. The user's own "
        "sequence is no neighbour, and by default the end of a sequence does not count, so that no times are needed.",
    ),
    "no-cross": Label("Retrieval within each modality (no-cross)", "no-cross", short="no-cross"),
    "nearest-interests": Label("Raw features to the nearest centroid (eq. 5)", "nearest-interests"),
    "raw-enrichment": Label("Enriched before the adapters (eq. 3)", "raw-enrichment"),
    "plain-ids": Label("Ids without enrichment (eq. 10)", "plain-ids"),
    "centroid-interests": Label("Interests from centroids (eq. 6)", "centroid-interests"),
    "narrow-adapter": Label("Adapters half as wide inside (eq. 8)", "narrow-adapter"),
    "more-layers": Label("DeCoRec with three layers of enrichment", "more-layers"),
    "logit-scores": Label("Sum of logits (eq. 17)", "logit-scores"),
}
"""Run -> names. A run that is not here is printed, and looked up in the paper, under its own name."""


def label(run: str) -> str:
    """What ``run`` is called in print."""
    return LABELS[run].text if run in LABELS else run


def short(run: str) -> str:
    """What ``run`` is called in drawings."""
    return (LABELS[run].short if run in LABELS else "") or label(run).partition(" (")[0]


def note(run: str, in_paper: bool) -> str:
    """What ``run`` is, and where the paper has the data set also what is known of its row; "" where nothing is."""
    if run not in LABELS:
        return ""
    found = LABELS[run]
    return " ".join(filter(None, [found.note, found.paper_note if in_paper else ""]))


def paper_name(run: str) -> str:
    """Model or variant of the paper that ``run`` is read against; the paper need not have it."""
    return LABELS[run].paper if run in LABELS else run


class PaperNames(RootModel[dict[str, PaperDataset | None]]):
    """Data set -> its name in the paper's tables, or null if the paper does not have it."""

    def of(self, dataset: str) -> str | None:
        """The name of ``dataset`` in the paper."""
        return self.root.get(dataset)
