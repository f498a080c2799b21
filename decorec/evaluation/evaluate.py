"""Step evaluate: where each user's target stands, and the first items of each user; all tables are made from these."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from decorec.artifacts.files import write_json, write_table
from decorec.artifacts.schemas.ranks import COLD, EVALUATED
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import candidates, rank_by_history, rank_users
from decorec.evaluation.metrics import REPORTED, parse_metric
from decorec.evaluation.ranks_table import ranks_table
from decorec.evaluation.top_lists import TopLists
from decorec.models import checkpoint
from decorec.models.base import Recommender

__all__ = ["evaluate"]

log = logging.getLogger("decorec")


def evaluate(
    *,
    vocab: Path,
    sequences: Path,
    model: Path,
    config: Path,
    ranks: Path,
    validation: Path,
    lists: Path,
    metrics: Path,
    threads: int = 1,
) -> None:
    """Rank every user's test item among all items of the data set (full ranking), with the history kept and masked.

    Users without a test target have no row. Cold items are those without an interaction in the training part.

    Args:
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        model: model.safetensors of the last stage of a run (read).
        config: its config.json (read).
        ranks: ranks.parquet (written), one row per user: user, target (item index), higher (items scored higher than
            the target), equal (other items with the same score), higher_masked and equal_masked (the same without the
            items of the user's history), history_length (items before the test item), training_length (interactions of
            the user in the training part), target_count (interactions with the target in the training part),
            higher_cold and equal_cold (the counts among cold items alone; null where the target is not cold).
        validation: validation.parquet (written), one row per user with a validation target: user, target, and the four
            counts. What is chosen between runs is chosen by these.
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
    tested, validated = data.having("test"), data.having("valid")
    first = TopLists(tested, "test", len(trained.items))
    test = rank_by_history(trained.model, tested, "test", first.add)
    valid = rank_by_history(trained.model, validated, "valid")
    counts = data.training().counts(len(trained.items))
    columns = {
        "history_length": tested.parts.test,
        "training_length": tested.parts.training,
        "target_count": counts[tested.targets("test")],
        **_among_cold(trained.model, tested, counts == 0),
    }
    among = len(trained.items)
    chosen_by = ranks_table(validation, validated, "valid", valid, candidates(validated, "valid", among))
    frame = ranks_table(ranks, tested, "test", test, candidates(tested, "test", among)).with_columns(
        pl.Series(name, columns[name], dtype=kind).replace(-1, None) for name, kind in EVALUATED.items()
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
    write_table(validation, chosen_by)
    write_table(lists, first.table(lists))
    write_json(metrics, {"users": len(frame), "items": len(trained.items), **figures})


def _among_cold(model: Recommender, tested: Sequences, cold: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.int64]]:
    """The columns of the counts among the items that are ``cold`` [I], each [U]; -1 where the target is not."""
    found = {name: np.full(len(tested.users), -1) for name in COLD}
    users = np.flatnonzero(cold[tested.targets("test")])
    if len(users):
        there = rank_users(model, tested.of(users), "test", np.flatnonzero(cold))
        for name, counts in zip(COLD, (there.higher, there.equal), strict=True):
            found[name][users] = counts
    return found
