"""Step leaderboard-table: the models of the main table in order, for the page: customers of 1,000, interval, tests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from decorec.artifacts.files import write_csv
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.significance import paired_test
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.summary import per_user, summarise_block

__all__ = ["LEADERBOARD", "leaderboard_table"]

HIT, NDCG = METRICS = ("Hit@10", "NDCG@10")
LEADERBOARD: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history"), pl.String),
    "place": pl.Int64,
    "model": pl.String,
    **dict.fromkeys(("users", "seeds"), pl.Int64),
    **dict.fromkeys(("hit", "ci_low", "ci_high", "ndcg", "p_value"), pl.Float64),
    "simple": pl.Boolean,
    "floor": pl.String,
    "p_floor": pl.Float64,
}
"""Columns of leaderboard.csv."""


def _rows(
    block: Block, runs: dict[str, RunRanks], reference: str, floors: Mapping[str, RunRanks], evaluate: EvaluateConfig
) -> list[dict[str, Any]]:
    """The runs of one block, best first; ``floors``: the simple ones, on validation items."""
    found = {(row.metric, row.run): row for row in summarise_block(block, runs, reference, evaluate, METRICS)}
    order = sorted(runs, key=lambda run: -found[HIT, run].mean)
    floor = max(floors, key=lambda run: per_user(floors[run], (HIT,)).mean(), default=None)
    rows = []
    for place, run in enumerate(order, 1):
        hit, p_floor = found[HIT, run], None
        if floor not in (None, run):
            differences = per_user(runs[run], (HIT,)) - per_user(runs[str(floor)], (HIT,))
            p_floor = float(paired_test(differences)[0])
        rows.append(
            {
                **block._asdict(),
                **{"place": place, "model": run, "users": hit.users, "seeds": hit.seeds, "hit": hit.mean},
                **{"ci_low": hit.ci_low, "ci_high": hit.ci_high, "ndcg": found[NDCG, run].mean},
                **{"p_value": hit.p_value, "simple": run in floors, "floor": floor, "p_floor": p_floor},
            }
        )
    return rows


def leaderboard_table(
    *,
    ranks: list[Path],
    validation: list[Path],
    runs: list[str],
    reference: str,
    floors: list[str],
    evaluate: EvaluateConfig,
    csv: Path,
) -> None:
    """Order the runs of the main table by Hit@10, with tests against the reference and against the best floor.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        validation: DATASET/runs/RUN/seed-N/validation.parquet (read) of the floors, likewise.
        runs: the runs.
        reference: run that all others are tested against.
        floors: those of the runs that are rules or closed forms; there may be none.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history and run, the best first: dataset, history (kept or
            masked), place, model (the run), users, seeds, hit (Hit@10, mean over users and seeds), ci_low, ci_high (its
            bootstrap interval over users), ndcg (NDCG@10), p_value (paired test of the reference against the run, in
            Hit@10), simple (whether it is a floor), floor (the best of the floors on validation items, with the same
            history), p_floor (the same test of the run against it).

    Raises:
        DecorecError: the reference is not one of the runs, or the files do not fit together.
    """
    if reference not in runs:
        raise DecorecError(
            f"--reference: expected one of the runs {', '.join(runs)}, found {reference!r}; correct tables.reference"
        )
    validated = read_runs(validation, floors, split="valid") if floors else {}
    rows = [
        row
        for block, group in read_runs(ranks, runs).items()
        for row in _rows(block, group, reference, validated.get(block, {}), evaluate)
    ]
    write_csv(csv, pl.DataFrame(rows, schema=LEADERBOARD), 6)
    logging.getLogger("decorec").info("%s: %d rows", csv, len(rows))
