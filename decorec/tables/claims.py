"""Step claims-table: compares the paper's claims with the measurements; every verdict is computed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.recall import RECALL
from decorec.config.evaluation import EvaluateConfig
from decorec.evaluation.metrics import REPORTED
from decorec.evaluation.significance import FLIPS, holm
from decorec.tables.coldstart import groups_of_users
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import PaperNames, paper_name, short
from decorec.tables.paper import paper as published
from decorec.tables.paper import paper_figure
from decorec.tables.recall import NAMES
from decorec.tables.render import Cell, Group, Table, write
from decorec.tables.retrieval import Scored, read_modes
from decorec.tables.summary import Effect, compare, compare_runs, per_user

__all__ = ["claims_table"]

HEADLINE = "NDCG@10"
"""The metric that is printed; the csv file has all of them."""
HITS = "hits per user"
UNTESTED = "not testable here"
KINDS = {
    "main": "Table 2, competitors",
    "ablations": "Table 4, ablations",
    "recall": "Table 3, recall without training",
    "modes": "Figure 7, modes of scoring",
    "single": "Figure 8, one modality with and without the other in training",
    "cold": "Figure 9, cold users",
}
APART = "no-cross"
"""Run with ``model.cross: false``: trained and scored within each modality alone, as the paper's variant "intra"."""
ONLY = {"text": "text-only", "image": "image-only"}
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "kind", "claim", "metric"), pl.String),
    "in_paper": pl.Boolean,
    **dict.fromkeys(("difference", "ci_low", "ci_high", "paper", "p_value", "p_holm"), pl.Float64),
    "verdict": pl.String,
}
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """One thing is better than another, in some metrics."""

    kind: str
    text: str
    effects: Mapping[str, Effect | None]
    """Metric -> effect; None: a run that it needs is missing."""
    in_paper: bool = True
    paper: Mapping[str, float] = field(default_factory=dict)
    """Metric -> the paper's effect, where it prints both numbers."""


@dataclass(frozen=True)
class _Evidence:
    """The measurements in one block."""

    runs: Mapping[str, RunRanks]
    modes: Mapping[Scored, RunRanks]
    recall: pl.DataFrame | None
    cold: npt.NDArray[np.bool_]
    """[U] which users are cold."""


def _untested(metrics: Sequence[str] = REPORTED) -> dict[str, Effect | None]:
    return dict.fromkeys(metrics)


def _compared(better: RunRanks | None, worse: RunRanks | None, evaluate: EvaluateConfig) -> dict[str, Effect | None]:
    if better is None or worse is None:
        return _untested()
    return dict(zip(REPORTED, compare_runs(better, worse, evaluate), strict=True))


def _of_runs(
    found: _Evidence,
    kind: Literal["main", "ablations"],
    runs: Sequence[str],
    reference: str,
    evaluate: EvaluateConfig,
    dataset: str | None,
) -> Iterator[Claim]:
    """The reference against the runs of a table, and against rows of the paper that the table does not have.

    dataset: its name in the paper; None where the paper's figures are not to be compared.
    """
    rows = published().main.rows if kind == "main" else published().ablations.rows
    others = [name for name in rows if name != paper_name(reference)]
    measured = {run: paper_name(run) for run in runs if run != reference}
    for run, name in measured.items():
        effects = _compared(found.runs.get(reference), found.runs.get(run), evaluate)
        printed = _paper_effects(kind, dataset, paper_name(reference), name)
        yield Claim(kind, f"{short(reference)} beats {short(run)}", effects, name in others, printed)
    for name in others:
        if name not in measured.values():
            yield Claim(kind, f"{short(reference)} beats {short(name)}", _untested())


def _paper_effects(
    kind: Literal["main", "ablations"], dataset: str | None, better: str, worse: str
) -> dict[str, float]:
    """Metric -> difference of the paper's figures, where it prints both."""
    found = {}
    for metric in REPORTED:
        one, other = (paper_figure(kind, dataset, name, metric) for name in (better, worse))
        if one is not None and other is not None:
            found[metric] = one - other
    return found


def _of_recall(found: _Evidence, evaluate: EvaluateConfig) -> Iterator[Claim]:
    for view in ("interest", "modal-similarity"):
        effects = _untested((HITS,))
        if found.recall is not None:
            both, one = (found.recall.filter(view=name)["hits"].to_numpy() for name in ("modality-interest", view))
            (effect,) = compare((both - one)[:, None].astype(np.float64), evaluate)
            effects = {HITS: effect}
        yield Claim("recall", f"{NAMES['modality-interest']} finds more than {NAMES[view]} alone", effects)


def _of_modes(found: _Evidence, reference: str, evaluate: EvaluateConfig) -> Iterator[Claim]:
    full = found.modes.get(Scored(reference, "cross"))
    for mode in ("intra", "text", "image"):
        effects = _compared(full, found.modes.get(Scored(reference, mode)), evaluate)
        yield Claim("modes", f"{short(reference)}: cross beats {mode}", effects)
    apart = _compared(full, found.modes.get(Scored(APART, "intra")), evaluate)
    yield Claim("modes", f"{short(reference)}: cross beats {short(APART)}: intra", apart)
    for mode, run in ONLY.items():
        pair = (found.modes.get(Scored(reference, mode)), found.modes.get(Scored(run, mode)))
        text = f"By {mode} alone, {short(reference)} beats {short(run)}"
        yield Claim("single", text, _compared(*pair, evaluate))


def _of_cold_users(found: _Evidence, reference: str, baseline: str, evaluate: EvaluateConfig) -> Iterator[Claim]:
    for run in dict.fromkeys((baseline, "unisrec", "missrec")):
        effects = _untested()
        if reference in found.runs and run in found.runs:
            effects = _compared(found.runs[reference].of(found.cold), found.runs[run].of(found.cold), evaluate)
        yield Claim("cold", f"On cold users {short(reference)} beats {short(run)}", effects)
    effects = _untested()
    if min(found.cold.sum(), (~found.cold).sum()) > 1 and {reference, baseline} <= set(found.runs):
        gains = per_user(found.runs[reference]) - per_user(found.runs[baseline])
        effects = _between(gains[found.cold], gains[~found.cold], evaluate)
    yield Claim("cold", f"Cold users gain more over {short(baseline)} than the others", effects)


def _between(cold: Values, other: Values, evaluate: EvaluateConfig) -> dict[str, Effect | None]:
    """Difference of the mean gains of two groups of users, by Welch's t-test."""
    from scipy.stats import ttest_ind

    effects: dict[str, Effect | None] = {}
    for index, metric in enumerate(REPORTED):
        one, two = cold[:, index], other[:, index]
        if not (one.std() or two.std()):
            effects[metric] = Effect(float(one.mean() - two.mean()), 0.0, 0.0, 1.0)
            continue
        test = ttest_ind(one, two, equal_var=False)
        low, high = test.confidence_interval(evaluate.level)
        effects[metric] = Effect(float(one.mean() - two.mean()), float(low), float(high), float(test.pvalue))
    return effects


def _records(block: Block, claims: Sequence[Claim], level: float) -> list[tuple[object, ...]]:
    """Rows of the csv file; p is corrected over all rows of one kind in one block."""
    rows: list[tuple[object, ...]] = []
    for kind in KINDS:
        lines = [(c, metric, effect) for c in claims if c.kind == kind for metric, effect in c.effects.items()]
        tested = [index for index, (_, _, effect) in enumerate(lines) if effect is not None]
        adjusted = dict(zip(tested, holm([e.p_value for _, _, e in lines if e is not None]).tolist(), strict=True))
        for index, (claim, metric, effect) in enumerate(lines):
            names = (*block, kind, claim.text, metric, claim.in_paper)
            if effect is None:
                rows.append((*names, *(None,) * 3, claim.paper.get(metric), None, None, UNTESTED))
                continue
            paper = claim.paper.get(metric)
            verdict = _verdict(effect, adjusted[index] <= 1 - level, paper) if claim.in_paper else ""
            measured = (effect.difference, effect.low, effect.high, paper, effect.p_value, adjusted[index])
            rows.append((*names, *measured, verdict))
    return rows


def _verdict(effect: Effect, significant: bool, paper: float | None) -> str:
    """What the measurement says of a claim.

    reproduced: better, and significantly so. contradicted: not reproduced, and the interval leaves out the paper's
    effect (where the paper prints none: all positive ones). undecided: the rest; the interval holds the paper's effect,
    and what there is of users and seeds does not tell it from none.
    """
    if effect.difference > 0 and significant:
        return "reproduced"
    outside = effect.high < 0 if paper is None else not effect.low <= paper <= effect.high
    return "contradicted" if outside else "undecided"


def _groups(frame: pl.DataFrame) -> list[Group]:
    groups = []
    for (dataset, history, kind), part in frame.group_by("dataset", "history", "kind", maintain_order=True):
        lines = []
        for (claim,), rows in part.group_by("claim", maintain_order=True):
            headline = rows.filter(metric=HEADLINE if HEADLINE in rows["metric"] else HITS).row(0, named=True)
            paper = Cell("" if headline["paper"] is None else f"{headline['paper']:+.4f}")
            cells = [Cell(), Cell(), paper, Cell(), Cell()]
            if headline["p_value"] is not None:
                cells = [
                    Cell(f"{headline['difference']:+.4f}"),
                    Cell(f"[{headline['ci_low']:+.4f}, {headline['ci_high']:+.4f}]"),
                    paper,
                    Cell(f"{headline['p_value']:.4f}"),
                    Cell(f"{headline['p_holm']:.4f}"),
                ]
            holding = int((rows["verdict"] == "reproduced").sum())
            share = f"{holding} of {len(rows)}" if headline["verdict"] and headline["p_value"] is not None else ""
            lines.append((str(claim), [*cells, Cell(headline["verdict"] or "not in the paper"), Cell(share)]))
        groups.append(Group(f"{dataset}, history {history}: {KINDS[str(kind)]}", lines))
    return groups


def claims_table(
    *,
    ranks: list[Path],
    modes: list[Path],
    recalls: list[Path],
    main: list[str],
    ablations: list[str],
    retrieval: list[str],
    reference: str,
    baseline: str,
    cold: float,
    evaluate: EvaluateConfig,
    paper: PaperNames,
    csv: Path,
    tex: Path,
    html: Path,
    md: Path,
) -> None:
    """Compare the paper's claims with the measurements.

    A claim is *reproduced* if its difference is positive and its p-value, corrected by Holm over all rows of its kind
    on its data set with the same treatment of the history, is at most 1 - evaluate.level. It is *contradicted* if it is
    not reproduced and its interval leaves out the paper's effect (where the paper prints none: all positive ones), and
    *undecided* otherwise. The recall without training never predicts an item of the history, so its claims stand with
    those of the masked history.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of the runs of both tables.
        modes: DATASET/runs/RUN/seed-N/modes.parquet (read) of the runs in retrieval.
        recalls: DATASET/recall.parquet (read) of all data sets.
        main: runs of the main table.
        ablations: runs of the table of ablations.
        retrieval: runs of the table of modes of scoring.
        reference: run whose claims are tested.
        baseline: run that gains on cold users are compared with.
        cold: share of the users that count as cold: those with the fewest training interactions.
        evaluate: the section evaluate of the configuration.
        paper: data set -> its name in the paper, or null.
        csv: the table (written), one row per data set, history, claim and metric: dataset, history (kept or masked),
            kind, claim, metric, in_paper, difference, ci_low, ci_high, paper, p_value, p_holm, verdict.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    runs = list(dict.fromkeys([*main, *ablations]))
    by_mode = read_modes(modes, retrieval) if modes else {}
    recalled = {layout.dataset_of(file): read_table(file, RECALL) for file in recalls}
    records: list[tuple[object, ...]] = []
    seeds: set[int] = set()
    for block, found in read_runs(ranks, runs).items():
        seeds |= {len(run.seeds) for run in [*found.values(), *by_mode.get(block, {}).values()]}
        is_cold = groups_of_users(found[runs[0]], cold)[0].chosen
        name = paper.of(block.dataset) if block.history == "kept" else None  # the paper keeps the history
        evidence = _Evidence(found, by_mode.get(block, {}), recalled.get(block.dataset), is_cold)
        claims = [
            *_of_runs(evidence, "main", main, reference, evaluate, name),
            *_of_runs(evidence, "ablations", ablations, reference, evaluate, name),
            *(_of_recall(evidence, evaluate) if block.history == "masked" else ()),
            *_of_modes(evidence, reference, evaluate),
            *_of_cold_users(evidence, reference, baseline, evaluate),
        ]
        records += _records(block, claims, evaluate.level)
    frame = pl.DataFrame(records, schema=SCHEMA, orient="row")
    table = Table(
        records=frame,
        caption="The paper's claims and the measurements",
        columns=[
            *("Claim", f"Difference, {HEADLINE}", "Interval", "In the paper", "p", "p (Holm)", "Verdict"),
            "Metrics reproduced",
        ],
        groups=_groups(frame),
        notes=[
            f"Difference: mean over users, in {HEADLINE} (recall: {HITS}); {evaluate.level:.0%} bootstrap interval "
            f"over users and over each run's seeds; p: two-sided paired permutation test, {FLIPS:,} sign patterns. The "
            "last claim about cold users compares two groups: Welch's t-test and its interval.",
            "In the paper: the same difference of the figures printed there. They keep the history, and their cut-offs "
            "are most likely one larger.",
            "p (Holm): corrected over all claims and metrics of one kind on one data set, for each treatment of the "
            f"history. Reproduced: the difference is positive and p (Holm) at most {1 - evaluate.level:.2g}. "
            "Contradicted: not so, and the interval leaves out the paper's effect, or all positive ones where the "
            "paper prints none. Undecided: the rest. Not testable here: a run that the claim needs is missing.",
            f"Seeds per run: {', '.join(map(str, sorted(seeds)))}.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d rows", csv, len(frame))
