"""Step new-items: trains a run without some items, adds them without training, and ranks them and the others."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from decorec.artifacts.files import write_table
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.config.runs import Run
from decorec.data.id_codes import codes_in
from decorec.data.item_features import FeatureFile
from decorec.data.parts import Parts
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import candidates, score_users, scored_ranks, unranked
from decorec.evaluation.rank_metrics import Ranks
from decorec.evaluation.ranking import ranks as ranks_of
from decorec.evaluation.ranks_table import ranks_table
from decorec.models import checkpoint
from decorec.models.checkpoint import Checkpoint
from decorec.models.registry import model_class
from decorec.recommend.new_items import with_new_items
from decorec.training.files import training_files
from decorec.training.key import training_key
from decorec.training.steps import train

__all__ = ["HeldOut", "hold_out", "new_items"]

log = logging.getLogger("decorec")
SEED = 0
"""Of the items that are held out: the same for all runs and all seeds of a training."""


@dataclass(frozen=True)
class HeldOut:
    """A data set without some of its items, and the targets that they are."""

    order: npt.NDArray[np.int64]
    """[I]: index of each item in the data set: first those that are known, then those that are held out."""
    known: int
    """Number of items that are known."""
    training: Sequences
    """Without the items that are held out and without test targets, of the known items alone."""
    evaluation: Sequences
    """Histories of known items, each with its test target: one of all items, in the new order. Users have the numbers
    that they have in ``training``, -1 for one who is not there."""


def hold_out(data: Sequences, items: int, share: float) -> HeldOut:
    """Take a share of the items, drawn at random, out of a data set as if they were not for sale yet.

    Every test target stays one. Users of whom nothing before it is left are left out, as are validation targets before
    which nothing is left.

    Args:
        data: the sequences of the data set.
        items: number of its items.
        share: of the items, larger than 0 and less than 1; at least one is held out.

    Raises:
        DecorecError: no item would be left, or none of those held out is a test target.
    """
    number = max(1, round(share * items))
    if number >= items:
        raise DecorecError(f"tables.held_out: expected items to train on, found {items} items; lower it")
    held = np.zeros(items, np.bool_)
    held[np.random.default_rng(SEED).choice(items, number, replace=False)] = True
    order = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])
    index = np.empty(items, np.int32)
    index[order] = np.arange(items, dtype=np.int32)
    users = data.owners
    position = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths)
    parts, known = data.parts, ~held[data.items]
    trained, valid = (position < parts.training[users]) & known, (position == parts.valid[users]) & known
    until_valid = (position < np.maximum(parts.training, parts.valid + 1)[users]) & known
    training = _part(data, index, users, until_valid, trained, valid, None)
    test = position == parts.test[users]
    before = (position < parts.test[users]) & known
    evaluation = _part(data, index, users, before | test, trained & before, None, test)
    names = (pl.Series(some.users, dtype=pl.String) for some in (evaluation, training))
    evaluation = replace(evaluation, among=codes_in(*names))
    evaluation = evaluation.of(np.flatnonzero(evaluation.parts.test > 0))
    if not (evaluation.targets("test") >= items - number).any():
        raise DecorecError(
            f"tables.held_out: expected test targets among the {number} items that are held out, found none; raise it"
        )
    return HeldOut(order, items - number, training, evaluation)


def _part(
    data: Sequences,
    index: npt.NDArray[np.int32],
    users: npt.NDArray[np.int64],
    keep: npt.NDArray[np.bool_],
    trained: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_] | None,
    test: npt.NDArray[np.bool_] | None,
) -> Sequences:
    """The interactions ``keep`` of the users that have one; a target stands last in a sequence, if it has one.

    A target with nothing before it is none.
    """
    count = partial(np.bincount, minlength=len(data.users))
    lengths = count(users[keep])
    there = np.flatnonzero(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[there])])
    last = [
        np.where((count(users[target])[there] > 0) & (lengths[there] > 1), lengths[there] - 1, -1)
        if target is not None
        else -np.ones(len(there))
        for target in (valid, test)
    ]
    parts = Parts(count(users[trained])[there], *(position.astype(np.int64) for position in last))
    times = None if data.timestamps is None else data.timestamps[keep]
    return Sequences([data.users[user] for user in there], offsets, index[data.items[keep]], times, parts)


def new_items(
    *,
    run: Run,
    seed: int,
    share: float,
    vocab: Path,
    sequences: Path,
    features: list[Path],
    code: str,
    cache: Path,
    ranks: Path,
    threads: int = 1,
) -> None:
    """Train a run without some of the items, add these as new ones, and rank every user's test item.

    The items are the same for all runs and seeds, so that their ranks can be compared. A step that was interrupted
    continues where it was, within a training too. A model that reads content alone has the new items from the start.

    Args:
        run: all values of the run.
        seed: of the training.
        share: share of the items that are held out, drawn at random.
        vocab: vocab.parquet (read).
        sequences: sequences.parquet (read).
        features: MODALITY.safetensors (read) of all modalities of the data set: the new items are added by them.
        code: fingerprint of the code; a state that other code has kept is not used.
        cache: folder that is kept between runs (read and written, emptied at the end).
        ranks: newitems.parquet (written), one row per user and mode: mode, user, target, and the counts of
            ranks.parquet. Modes: the target is new or known, among all items or among those of its kind alone. The
            index of a target counts the known items first, then the new ones.
        threads: number of threads of torch.

    Raises:
        DecorecError: a file is missing or damaged, or no test target is held out.
    """
    torch.set_num_threads(threads)
    run = run.from_nothing()  # an earlier checkpoint has seen the items that are held out
    names = read_vocab(vocab)
    held = hold_out(Sequences.read(sequences), len(names), share)
    key = training_key(run.dump(), seed, share, code, files=[vocab, sequences, *features])
    place = cache / key[:16]
    ordered = [names[item] for item in held.order]
    known, new = ordered[: held.known], ordered[held.known :]
    if model_class(run.model.name).reads_content_alone:  # the yardstick: nothing has to be added
        extended = _trained(run, seed, ordered, held.training, features, code, place, threads)
    else:
        trained = _trained(run, seed, known, held.training, features, code, place, threads)
        rows = [FeatureFile.read(path).aligned(ordered)[0] for path in features]
        extended = with_new_items(trained, new, rows, held.training.training())
    frame = pl.concat(_modes(extended, held, ranks))
    write_table(ranks, frame)
    shutil.rmtree(place, ignore_errors=True)
    log.info("%s: %d of %d items held out, %s", ranks, len(new), len(names), dict(frame["mode"].value_counts().rows()))


def _trained(
    run: Run,
    seed: int,
    items: list[str],
    data: Sequences,
    features: list[Path],
    code: str,
    place: Path,
    threads: int,
) -> Checkpoint:
    """All stages of the run on the known items, in the folder ``place``; a stage that is done is not trained again."""
    files = training_files(run, data, items, features, place, threads)
    start: tuple[Path, Path] | None = None
    for stage in run.stages:
        weights, config = place / stage / "model.safetensors", place / stage / "config.json"
        if not weights.is_file():
            train(
                run=run,
                stage=stage,
                seed=seed,
                **files,
                start=None if start is None else start[0],
                start_config=None if start is None else start[1],
                code=code,
                state=place / f"{stage}.safetensors",
                model=weights,
                history=place / stage / "history.parquet",
                config=config,
                threads=threads,
            )
        start = weights, config
    assert start is not None, "a run has a stage"
    return checkpoint.load(*start)


def _modes(trained: Checkpoint, held: HeldOut, file: Path) -> list[pl.DataFrame]:
    """The rows of each mode."""
    data, known = held.evaluation, held.known
    items = len(trained.items)
    model = trained.model.to_device().eval()
    found = {among: {history: unranked(data) for history in HISTORIES} for among in ("all", "own")}
    is_new = data.targets("test") >= known
    for chosen, scores, targets in score_users(model, data, "test"):
        _fill(found["all"], chosen, scored_ranks(data, "test", chosen, scores, targets))
        for kind in (False, True):
            inside = np.flatnonzero(is_new[chosen] == kind)
            if not len(inside):
                continue
            rows = torch.from_numpy(inside).to(targets.device)
            columns = slice(known, items) if kind else slice(0, known)
            part = {history: scores[history].index_select(0, rows)[:, columns] for history in HISTORIES}
            own = targets.index_select(0, rows) - columns.start
            if kind:  # nobody's history has a new item
                _fill(found["own"], chosen[inside], {name: ranks_of(part[name], own) for name in HISTORIES})
            else:
                _fill(found["own"], chosen[inside], scored_ranks(data, "test", chosen[inside], part, own))
    frames = []
    for target, kind in (("new", True), ("known", False)):
        users = np.flatnonzero(is_new == kind)
        if not len(users):
            continue
        some = data.of(users)
        number = items - known if kind else known
        among = {
            "all items": ("all", candidates(some, "test", items)),
            f"{target} items": (
                "own",
                dict.fromkeys(HISTORIES, np.full(len(users), number)) if kind else candidates(some, "test", known),
            ),
        }
        for name, (key, count) in among.items():
            ranks = {history: counts[users] for history, counts in found[key].items()}
            frame = ranks_table(file, some, "test", ranks, count)
            frames.append(frame.select(pl.lit(f"{target} targets, {name}").alias("mode"), pl.all()))
    return frames


def _fill(found: dict[History, Ranks], users: npt.NDArray[np.int64], ranks: dict[History, Ranks]) -> None:
    for history, part in ranks.items():
        found[history].higher[users], found[history].equal[users] = part.higher, part.equal
