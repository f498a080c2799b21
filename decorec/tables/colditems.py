"""Step colditems-table: compares runs on targets that have no interaction in the training part."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from decorec.artifacts import layout
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.render import write
from decorec.tables.split_facts import SplitFacts, read_split
from decorec.tables.summary import summarise_block
from decorec.tables.target_groups import TargetGroup, table_of

__all__ = ["colditems_table"]


def _groups(
    block: Block, runs: Mapping[str, RunRanks], facts: SplitFacts, evaluate: EvaluateConfig
) -> Iterator[TargetGroup]:
    """Cold targets among all items and among cold items, and the other targets; only groups that have targets."""

    def group(targets: str, candidates: str, chosen: dict[str, RunRanks]) -> TargetGroup:
        among = "all items" if candidates == "all" else f"the {facts.cold_items:,} cold items alone"
        summaries = summarise_block(block, chosen, None, evaluate)
        return TargetGroup(targets, candidates, facts.cold_items, facts.test_targets, among, summaries)

    ranked = next(iter(runs.values())).cold
    assert ranked is not None, "ranks of modes have no cold counts"
    cold = ranked.higher[0] >= 0
    if not cold.any():
        return
    some = {name: run.of(cold) for name, run in runs.items()}
    yield group("cold", "all", some)
    if block.history == "kept":
        among = {name: RunRanks(run.seeds, run.cold) for name, run in some.items() if run.cold is not None}
        yield group("cold", "cold", among)
    if not cold.all():
        others = {name: run.of(~cold) for name, run in runs.items()}
        yield group("other", "all", others)


def colditems_table(
    *,
    ranks: list[Path],
    statistics: list[Path],
    runs: list[str],
    evaluate: EvaluateConfig,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare runs on cold targets, items without an interaction in the training part, and on the others.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of all data sets, runs and seeds.
        statistics: DATASET/statistics.json (read) of all data sets.
        runs: the runs, in the order of the columns.
        evaluate: the section evaluate of the configuration.
        csv: the table (written), one row per data set, history, group of targets, candidates, metric and run: dataset,
            history (kept or masked), targets (cold or other), candidates (all, or cold: cold items alone, with the
            history kept), metric, model (the run), users (with such a target), cold_items (in the data set), mean, std,
            seeds, ci_low, ci_high. A data set without cold targets has no rows.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    facts = {layout.dataset_of(file): read_split(file) for file in statistics}
    parts, without = [], []
    for block, group in read_runs(ranks, runs).items():
        if block.dataset not in facts:
            raise DecorecError(f"--statistics: expected the file of {block.dataset!r}, found none; pass it")
        found = list(_groups(block, group, facts[block.dataset], evaluate))
        parts += found
        if not found and block.history == "kept":
            without.append(block.dataset)
    table = table_of(
        parts,
        runs,
        caption="Targets without a training interaction, and other targets",
        notes=[
            "Cold: items without an interaction in the training part; they are candidates for everyone. Mean over "
            "users and seeds ± standard deviation over seeds. Bold: best; underlined: second best.",
            "Among n cold items alone, a model that scores them all equal has Hit@k = k / n, up to 1.",
            *(
                f"{dataset}: each of the {facts[dataset].test_targets:,} test targets has a training interaction, so "
                "there is nothing to compare."
                for dataset in without
            ),
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d groups of targets", csv, len(parts))
