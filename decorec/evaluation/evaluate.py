"""Step evaluate: where each user's target stands, and the first items of each user; all tables are made from these."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import polars as pl
import torch

from decorec.artifacts.files import write_json, write_table
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import candidates, rank_by_history
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.ranks_table import ranks_table
from decorec.evaluation.top_lists import TopLists
from decorec.models import checkpoint

__all__ = ["evaluate"]


log = logging.getLogger("decorec")


def evaluate(
    *,
    vocab: Path,
    sequences: Path,
    model: Path,
    config: Path,
    ranks: Path,
    lists: Path,
    metrics: Path,
    threads: int = 1,
) -> None:
    """Rank every user's test item among all items of the data set (full ranking), with the history kept and masked.

    Args:
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        model: model.safetensors of the last stage of a run (read).
        config: its config.json (read).
        ranks: ranks.parquet (written), one row per user: user, target (item index), higher (items scored higher than
            the target), equal (other items with the same score), higher_masked and equal_masked (the same without the
            items of the user's history), history_length (items before the test item), target_count (interactions with
            the target in the training part).
        lists: lists.parquet (written), two rows per user: user, history (kept or masked), items (indices of the first
            50, or of all that are left; best first, equal scores in the order of the items). Masked: no item of the
            user's history, not even a target that was bought before.
        metrics: metrics.json (written): means over users on test and on validation items, with the history kept and
            masked, a tie as the mean over all orders of its items. The means on validation items are for choices, those
            on test items only for reports.
        threads: number of threads of torch.

    Raises:
        DecorecError: a file is missing or damaged, the model has other items than the vocabulary, a score is NaN, or
            the ranks cannot be those of one target per user among its candidates.
    """
    torch.set_num_threads(threads)
    trained = checkpoint.load_for(vocab, model, config)
    data = Sequences.read(sequences)
    trained.model.to_device()
    first = TopLists(data, "test", len(trained.items))
    test = rank_by_history(trained.model, data, "test", first.add)
    valid = rank_by_history(trained.model, data, "valid")
    target = data.items[data.offsets[1:] - 1]
    counts = np.bincount(data.training().items, minlength=len(trained.items))
    frame = ranks_table(ranks, data, test, candidates(data, "test", len(trained.items))).with_columns(
        history_length=pl.Series((data.lengths - 1).astype(np.int32)),
        target_count=pl.Series(counts[target].astype(np.int32)),
    )
    figures = {
        part: {
            history: {name: float(parse_metric(name)(ranked).mean()) for name in REPORTED}
            for history, ranked in found.items()
        }
        for part, found in (("test", test), ("valid", valid))
    }
    log.info("%s seed %d: test %s", trained.run.model.name, trained.seed, figures["test"])
    write_table(ranks, frame)
    write_table(lists, first.table(lists))
    write_json(metrics, {"users": len(frame), "items": len(trained.items), **figures})
