"""Names: what runs and data sets are called in print, and what the paper calls them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import RootModel

from decorec.config.datasets import PaperDataset

__all__ = ["LABELS", "Label", "PaperNames", "label", "note", "paper_name", "short"]


@dataclass(frozen=True)
class Label:
    """Names of one run."""

    text: str
    """In printed tables."""
    paper: str
    """Of the paper's row that it is read against, spelt as in paper.yaml."""
    note: str = ""
    """Why its figures differ from the paper's, for the page of results."""
    short: str = ""
    """In drawings, where the text without what stands in brackets would not do."""


LABELS: dict[str, Label] = {
    "decorec": Label(
        "DeCoRec (as described)",
        "decorec",
        "Built from the equations: enrichment inside the forward pass for the modalities as well, one pass over each "
        "sequence, Adam's moments anew every epoch and averaged weights. At the paper's cut-offs it comes close to the "
        "paper's row and stays below it by one to four per cent; the paper gives one figure without seeds, and "
        "intervals over users are several times wider than that distance. What is not reproduced is that the second "
        "stage gains: on validation it keeps what the first one reached.",
    ),
    "decorec-released": Label(
        "DeCoRec (preset of the released code)",
        "decorec",
        "What the authors' code computes where it differs from the paper: no enrichment of the modalities, "
        "co-occurrence over 1/(D+1) divided by both degrees, bare interest tables, ids and interests that are never "
        "trained, one row per prefix. It agrees with that code, run by us on the same files, within the noise of "
        "seeds; both stay below the paper's row.",
        short="DeCoRec released",
    ),
    "decorec-plus": Label(
        "DeCoRec-plus (not in the paper)",
        "decorec",
        "A variant of this project, chosen on the validation items of Scientific and of H&M together. It is trained to "
        "give the next three items, the k-th of which counts 1 / k. Its scores are times 1 + q, q being the "
        "candidate's co-occurrence with the user's history in units of the mean over all items that co-occur with it; "
        "then the items of the history share as much as repeats had in training. Both are counted in the training "
        "part. Most of the gain comes from repeats, which are rare: any model gains about as much where the history "
        "is masked, see the log.",
    ),
    "sasrec": Label(
        "SASRec (full cross-entropy)",
        "sasrec",
        "Trained with cross-entropy over all items, one pass over each sequence, width 300, two layers. The original "
        "samples one negative per position, which is much weaker; the paper does not say which it used, and its row "
        "fits full cross-entropy at the cut-offs of its evaluator.",
    ),
    "bert4rec": Label(
        "BERT4Rec (corrected, full CE)",
        "bert4rec",
        "The paper's row is about half of SASRec's, as the old library version behind its code base gives: there the "
        "last training item is never predicted, no mask stands at the end of a sequence in training, position 0 drops "
        "out of the loss, and the output layer and its bias are missing. Here half of the samples mask the last item "
        "alone, all masked positions count, and an epoch holds several passes with fresh masks, since the model is "
        "known to need long training. A much higher row than the paper's is what a correct implementation gives.",
    ),
    "unisrec": Label(
        "UniSRec (text+ID, CLIP text, no pre-training)",
        "unisrec",
        "Trained from scratch on each data set, transductive, with the CLIP text features that the other models have. "
        "The published model starts from weights pre-trained on five other categories with BERT texts; the paper does "
        "not say whether its row does. On the full data sets pre-training is worth a few per cent.",
    ),
    "missrec": Label(
        "MISSRec (text+image+ID, no pre-training)",
        "missrec",
        "Trained from scratch on each data set. The published model is pre-trained on other categories, worth 0 to 6 % "
        "of Hit by its authors' own tables; the paper does not say whether its row is. The regulariser sums real "
        "tokens only, and the clusters belong to the checkpoint.",
    ),
    "mmmlp": Label(
        "MMMLP (CLIP features)",
        "mmmlp",
        "A re-implementation: the released code does not run as shipped and has neither data nor settings for these "
        "categories, so that every figure on them is one. Features come from the same frozen CLIP as everywhere here, "
        "not from the mixers over raw pixels and word vectors. One of the paper's four figures on Office cannot be "
        "right: no list of ranks gives all four.",
    ),
    "dimo": Label(
        "DIMO (corrected re-implementation, train-only graph, CLIP features)",
        "dimo",
        "The released code overwrites its content features with noise, counts co-occurrences of test sessions, swaps "
        "arguments of one loss, trains without dropout after its first evaluation and prints its best test figure. "
        "None of that is repeated here; whether the paper's row did is unknown. The model is made for sessions of one "
        "day and is off its ground on histories of years.",
    ),
    "popularity": Label("Popularity", "popularity"),
    "item-knn": Label("Item-kNN (co-occurrence)", "item-knn"),
    "content-knn": Label("Content-kNN (last item's neighbours by text and picture)", "content-knn"),
}
"""Run -> names. A run that is not here is printed, and looked up in the paper, under its own name."""


def label(run: str) -> str:
    """What ``run`` is called in print."""
    return LABELS[run].text if run in LABELS else run


def short(run: str) -> str:
    """What ``run`` is called in drawings."""
    return (LABELS[run].short if run in LABELS else "") or label(run).partition(" (")[0]


def note(run: str) -> str:
    """Why the figures of ``run`` differ from the paper's; "" where there is nothing to say."""
    return LABELS[run].note if run in LABELS else ""


def paper_name(run: str) -> str:
    """Model or variant of the paper that ``run`` is read against; the paper need not have it."""
    return LABELS[run].paper if run in LABELS else run


class PaperNames(RootModel[dict[str, PaperDataset | None]]):
    """Data set -> its name in the paper's tables, or null if the paper does not have it."""

    def of(self, dataset: str) -> str | None:
        """The name of ``dataset`` in the paper."""
        return self.root.get(dataset)
