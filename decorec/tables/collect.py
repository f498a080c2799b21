"""Reads files of ranks and checks that all runs of a data set rank the same targets for the same users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.ranks import COLD, COUNTS, EVALUATED, HISTORIES, RANKS, History
from decorec.data.parts import Split
from decorec.errors import DecorecError
from decorec.evaluation.rank_metrics import Ranks

__all__ = ["Block", "RunRanks", "by_dataset", "read_runs"]


class Block(NamedTuple):
    """A part of a table: within it all runs rank the same candidates for the same users."""

    dataset: str
    history: History

    def title(self, *details: str) -> str:
        """Its heading: data set, details, and what happens to the user's history."""
        return ", ".join([self.dataset, *details, f"history {self.history}"])


@dataclass(frozen=True)
class RunRanks:
    """The ranks of one run in one block, over its seeds."""

    seeds: tuple[int, ...]
    """Ascending."""
    ranks: Ranks
    """[S, U] where each user's target stands, per seed; users in ascending order of their ids."""
    lengths: npt.NDArray[np.int64] | None = None
    """[U] training interactions of each user; None for ranks of a mode, and on validation items."""
    cold: Ranks | None = None
    """[S, U] where the target stands among the cold items alone, -1 where it has a training interaction itself; None
    for ranks of a mode, and on validation items."""

    @property
    def users(self) -> int:
        """U."""
        count: int = self.ranks.higher.shape[1]
        return count

    def of(self, chosen: npt.NDArray[np.bool_]) -> RunRanks:
        """The same run on some of its users; ``chosen`` [U]."""
        lengths = None if self.lengths is None else self.lengths[chosen]
        cold = None if self.cold is None else self.cold[:, chosen]
        return RunRanks(self.seeds, self.ranks[:, chosen], lengths, cold)


COUNTED = [name for names in COUNTS.values() for name in names]


def _read(file: Path, mode: str | None, split: Split) -> pl.DataFrame:
    columns = RANKS | EVALUATED if mode is None and split == "test" else RANKS
    frame = read_table(file, columns)
    if mode is not None:
        frame = frame.filter(mode=mode)
    frame = frame.select(*columns)
    if not frame["user"].is_sorted():
        frame = frame.sort("user", "target")
    if frame.is_empty():
        raise DecorecError(f"{file}: expected one row per user, found none; run its step again")
    for name in [name for name in columns if name != "user"]:
        wanted = frame.filter(target_count=0) if name in COLD else frame
        if wanted[name].null_count() or not (wanted[name] >= 0).all():
            raise DecorecError(
                f"{file}: expected numbers of at least 0 in column {name!r}, found others; run its step again"
            )
    repeated = frame.filter(pl.col("user") == pl.col("user").shift(1))["user"]
    if len(repeated):
        raise DecorecError(f"{file}: expected one row per user, found several of {repeated[0]!r}; run its step again")
    return frame


def _check_same_users(first: Path, expected: pl.DataFrame, file: Path, found: pl.DataFrame) -> None:
    """Raise unless both files have the same users, each with the same target, history and training part."""
    if expected.equals(found):
        return
    key = expected.columns
    only = found.join(expected, on=key, how="anti", maintain_order="left")
    if only.is_empty():
        only = expected.join(found, on=key, how="anti", maintain_order="left")
    row = only.row(0, named=True)
    history = f" after {row['history_length']} items" if "history_length" in row else ""
    raise DecorecError(
        f"{first} and {file}: expected the same users with the same targets, found {len(expected)} and {len(found)} "
        f"users, and user {row['user']!r} with target {row['target']}{history} in one only; "
        "evaluate both runs on the same sequences"
    )


def by_dataset(files: Sequence[Path], runs: Sequence[str], pattern: str) -> dict[str, dict[str, dict[int, Path]]]:
    """Sort files of ``pattern`` into data set -> run -> seed -> file; runs in the order of ``runs``.

    Raises:
        DecorecError: a file has another path, is given twice or belongs to no run; a run has no file.
    """
    groups: dict[str, dict[str, dict[int, Path]]] = {}
    for file in files:
        found = layout.place(file, pattern)
        if found.run not in runs:
            raise DecorecError(
                f"{file}: expected one of the runs {', '.join(runs)}, found {found.run!r}; leave it out or add the run"
            )
        seeds = groups.setdefault(found.dataset, {run: {} for run in runs})[found.run]
        if found.seed in seeds:
            raise DecorecError(
                f"{file}: expected one file per data set, run and seed, found {seeds[found.seed]} too; pass one of them"
            )
        seeds[found.seed] = file
    for dataset, group in groups.items():
        for run, seeds in group.items():
            if not seeds:
                raise DecorecError(
                    f"run {run!r} of data set {dataset!r}: expected at least one {Path(pattern).name}, found none; "
                    "pass its files or take it out of the table"
                )
    return groups


def read_runs(
    files: Sequence[Path],
    runs: Sequence[str],
    mode: str | None = None,
    split: Split = "test",
    modes: str = layout.MODES,
) -> dict[Block, dict[str, RunRanks]]:
    """Read the ranks of ``runs``; data set, run and seed are taken from each path.

    Args:
        files: paths ending in DATASET/runs/RUN/seed-N/ranks.parquet.
        runs: the runs expected in every data set, in the order of the rows of the table.
        mode: read the rows of this mode; for files that have several.
        split: "valid" for files named validation.parquet, by which runs are chosen.
        modes: pattern of the files that have modes.

    Returns:
        block (data sets in the order of ``files``, in each the history kept, then masked) -> run (in the order of
        ``runs``) -> ranks.

    Raises:
        DecorecError: a file is missing, has another path, is given twice or belongs to no run; a run has no file; a
            count is not a number of at least 0; users or targets differ within a data set.
    """
    if not files:
        raise DecorecError(
            "--ranks: expected at least one ranks.parquet, found none; pass the files of the step evaluate"
        )
    result: dict[Block, dict[str, RunRanks]] = {}
    pattern = modes if mode is not None else layout.RANKS if split == "test" else layout.VALIDATION
    for dataset, group in by_dataset(files, runs, pattern).items():
        reference: tuple[Path, pl.DataFrame] | None = None
        lengths = None
        result |= {Block(dataset, history): {} for history in HISTORIES}
        for run, seeds in group.items():
            frames: list[pl.DataFrame] = []
            for seed in sorted(seeds):
                frame = _read(seeds[seed], mode, split)
                told = frame.drop(COUNTED, *COLD, strict=False)
                reference = reference or (seeds[seed], told)
                _check_same_users(*reference, seeds[seed], told)
                frames.append(frame.drop(told.columns))
            assert reference is not None  # every run has a file
            cold = None
            if mode is None and split == "test":
                if lengths is None:
                    lengths = reference[1]["training_length"].to_numpy().astype(np.int64)
                cold = _stacked(frames, COLD)
            for history, names in COUNTS.items():
                ranks = _stacked(frames, names)
                result[Block(dataset, history)][run] = RunRanks(tuple(sorted(seeds)), ranks, lengths, cold)
    return result


def _stacked(frames: Sequence[pl.DataFrame], names: tuple[str, str]) -> Ranks:
    """Two columns of counts of every seed, [S, U]; -1 where there is none."""
    return Ranks(*(np.stack([frame[name].fill_null(-1).to_numpy() for frame in frames]) for name in names))
