"""Step newitems-table: compares runs on items that were held out of their training and added without one."""

from __future__ import annotations

import logging
from itertools import product
from pathlib import Path

import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_json, read_table
from decorec.artifacts.schemas.ranks import HISTORIES
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.render import write
from decorec.tables.summary import summarise_block
from decorec.tables.target_groups import TargetGroup, table_of

__all__ = ["newitems_table"]

KINDS = [("new", "all"), ("new", "new"), ("known", "all"), ("known", "known")]
"""Targets and candidates, as the step new-items ranks them."""


def newitems_table(
    *,
    ranks: list[Path],
    statistics: list[Path],
    runs: list[str],
    held_out: float,
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs on new items, and say what the known ones lose.

    Args:
        ranks: DATASET/runs/RUN/seed-N/newitems.parquet (read) of all data sets, runs and seeds.
        statistics: DATASET/statistics.json (read) of all data sets.
        runs: the runs, in the order of the columns.
        held_out: share of the items that were held out.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), with the columns of colditems.csv: targets is new or known, candidates all, new or
            known; cold_items: the items that were held out.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    items = {layout.dataset_of(file): _items(file) for file in statistics}
    found: dict[tuple[str, str], dict[Block, dict[str, RunRanks]]] = {}
    for targets, candidates in KINDS:
        mode = f"{targets} targets, {candidates} items"
        if any((read_table(file, {"mode": pl.String})["mode"] == mode).any() for file in ranks):
            found[targets, candidates] = read_runs(ranks, runs, mode, modes=layout.NEW_ITEMS)
    groups = []
    for dataset, history in product(items, HISTORIES):
        block = Block(dataset, history)
        total = sum(found[kind, "all"][block][runs[0]].users for kind in ("new", "known") if (kind, "all") in found)
        new = max(1, round(held_out * items[dataset]))
        among = {"all": "all items", "new": f"the {new:,} new items alone", "known": "the known items alone"}
        for (targets, candidates), blocks in found.items():
            summaries = summarise_block(block, blocks[block], None, evaluate)
            groups.append(TargetGroup(targets, candidates, new, total, among[candidates], summaries))
    table = table_of(
        groups,
        runs,
        caption="Items held out of training and added without one",
        notes=[
            f"{held_out:.1%} of the items, drawn at random, are taken out of the training and of the histories of all "
            "users; each model is trained without them; then they are added by their texts and pictures alone. Mean "
            "over users and seeds ± standard deviation over seeds. Bold: best; underlined: second best.",
            "Known targets among the known items alone: as if no item had been added. The difference to the same "
            "targets among all items is what new items cost them.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d groups of targets", csv, len(groups))


def _items(statistics: Path) -> int:
    """Number of items of the data set."""
    found = read_json(statistics).get("items")
    if not isinstance(found, int):
        raise DecorecError(f"{statistics}: expected the number of items, found {found!r}; run its step again")
    return found
