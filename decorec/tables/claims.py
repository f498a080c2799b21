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
from decorec.artifacts.schemas.gradients import FIRST
from decorec.artifacts.schemas.recall import RECALL
from decorec.config.evaluation import EvaluateConfig
from decorec.evaluation.metrics import MAIN, REPORTED
from decorec.evaluation.significance import FLIPS, holm, mean_of_few, two_groups, within
from decorec.tables.coldstart import groups_of_users
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.labels import PaperNames, paper_name, short
from decorec.tables.paper import paper as published
from decorec.tables.paper import paper_figure
from decorec.tables.recall import NAMES
from decorec.tables.render import Cell, Group, Table, percent, write
from decorec.tables.retrieval import Scored, read_modes
from decorec.tables.summary import Effect, compare, compare_runs, per_user
from decorec.tables.trainings import COSINES, Trainings, read_trainings

__all__ = ["claims_table"]

HITS = "hits per user"
EPOCH = "best epoch"
UNTESTED = "not testable here"
KINDS = {
    "main": "Table 2, competitors",
    "modal": "Table 2, modalities against ids alone",
    "ablations": "Table 4, ablations",
    "recall": "Table 3, recall without training",
    "convergence": "Figure 2, best epochs",
    "gradients": "Figure 3, gradients of ids and modalities",
    "fusion": "Figure 4, naive fusion",
    "modes": "Figure 7, modes of scoring",
    "single": "Figure 8, one modality with and without the other in training",
    "cold": "Figure 9, cold users",
}
APART = "no-cross"
"""Run with ``model.cross: false``: trained and scored within each modality alone, as the paper's variant "intra"."""
ONLY = {"text": "text-only", "image": "image-only"}
WITH_MODALITIES = ("unisrec", "missrec")
IDS_ALONE = ("sasrec", "bert4rec")
FUSED, MODALITIES_ALONE, LINEAR = "naive-fusion", "no-collaborative", "linear-adapter-no-collaborative"
"""Runs of figure 4; ids alone are the baseline."""
IN_FIGURE_4 = ("Hit@10", "NDCG@10", "MRR@10")
AROUND = 1
"""How many epochs from the number that the paper calls "around" still are."""
EARLY = 10
"""Steps whose mean is the start, and the end, of the first steps of figure 3a."""
SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("dataset", "history", "kind", "claim", "metric"), pl.String),
    "in_paper": pl.Boolean,
    **dict.fromkeys(("difference", "ci_low", "ci_high", "paper", "paper_high", "p_value", "p_holm"), pl.Float64),
    "verdict": pl.String,
}
Values = npt.NDArray[np.float64]
Span = tuple[float, float]
"""What the paper gives: two equal numbers, or the ends of a span."""


@dataclass(frozen=True)
class Claim:
    """One thing is better than another, in some metrics."""

    kind: str
    text: str
    effects: Mapping[str, Effect | None]
    """Metric -> effect; None: a run that it needs is missing."""
    in_paper: bool = True
    paper: Mapping[str, Span] = field(default_factory=dict)
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
        # A run may be read against the row of the reference itself: the paper then has no difference of the two.
        printed = _paper_effects(kind, dataset, paper_name(reference), name) if name in others else {}
        yield Claim(kind, f"{short(reference)} beats {short(run)}", effects, name in others, printed)
    for name in others:
        if name not in measured.values():
            yield Claim(kind, f"{short(reference)} beats {short(name)}", _untested())


def _paper_effects(kind: Literal["main", "ablations"], dataset: str | None, better: str, worse: str) -> dict[str, Span]:
    """Metric -> difference of the paper's figures, where it prints both."""
    found = {}
    for metric in REPORTED:
        one, other = (paper_figure(kind, dataset, name, metric) for name in (better, worse))
        if one is not None and other is not None:
            found[metric] = (one - other, one - other)
    return found


def _of_modalities(found: _Evidence, evaluate: EvaluateConfig, dataset: str | None) -> Iterator[Claim]:
    """Section 5.2: models with modalities beat those of ids alone; the reference's own are among the competitors."""
    for better in WITH_MODALITIES:
        for worse in IDS_ALONE:
            effects = _compared(found.runs.get(better), found.runs.get(worse), evaluate)
            printed = _paper_effects("main", dataset, better, worse)
            yield Claim("modal", f"{short(better)} beats {short(worse)}", effects, paper=printed)


def _of_fusion(found: _Evidence, baseline: str, evaluate: EvaluateConfig, dataset: str | None) -> Iterator[Claim]:
    """Figure 4; the paper gives its loss as a share, so that what is expected here is that share of our own figure."""
    fused = found.runs.get(FUSED)
    for name, run in (("modalities", MODALITIES_ALONE), ("ids", baseline)):
        alone = found.runs.get(run)
        expected: dict[str, Span] = {}
        if alone is not None and dataset is not None:
            low, high = (percent / 100 for percent in published().stated.fusion_loss_percent)
            means = dict(zip(REPORTED, per_user(alone).mean(axis=0).tolist(), strict=True))
            expected = {metric: (low * means[metric], high * means[metric]) for metric in IN_FIGURE_4}
        text = f"By {name} alone, {short(run)} beats {short(FUSED)}"
        yield Claim("fusion", text, _compared(alone, fused, evaluate), paper=expected)
    effects = _compared(found.runs.get(MODALITIES_ALONE), found.runs.get(LINEAR), evaluate)
    printed = _paper_effects("ablations", dataset, MODALITIES_ALONE, LINEAR)
    yield Claim("fusion", f"{short(MODALITIES_ALONE)} beats {short(LINEAR)}", effects, paper=printed)


def _of_convergence(found: Trainings, reference: str, baseline: str, level: float) -> Iterator[Claim]:
    """Figure 2: where the trainings of ids alone and of modalities alone are best on validation items.

    The paper's epoch is part of the claim, so it is compared on every data set.
    """
    ids, modalities = np.array(found.ids), np.array(found.modalities)
    about = published().stated.best_epoch_of_ids
    span = (about - AROUND, about + AROUND)
    effects = _untested((EPOCH,))
    if len(ids) > 1:
        mean, low, high, _ = mean_of_few(ids, level=level)
        effects = {EPOCH: Effect(mean, low, high, within(ids, *span))}
    text = f"{short(baseline)} (ids alone) is best around epoch {about:g}"
    yield Claim("convergence", text, effects, paper={EPOCH: span})
    effects = _untested((EPOCH,))
    if min(len(ids), len(modalities)) > 1:
        effects = {EPOCH: Effect(*two_groups(modalities, ids, level=level))}
    yield Claim(
        "convergence", f"{short(baseline)} is best before stage 1 of {short(reference)} (modalities alone)", effects
    )


def _of_gradients(found: Trainings, level: float) -> Iterator[Claim]:
    """Figure 3a: the first steps of a training of ids and modalities together."""
    seeds = np.stack(found.cosines.get(FUSED, [np.full((len(COSINES), FIRST), np.nan)]))  # [S, 2, FIRST]
    first, last = _known_mean(seeds[:, :, :EARLY]), _known_mean(seeds[:, :, -EARLY:])

    def effects(sign: str, values: Values) -> dict[str, Effect | None]:
        tested: dict[str, Effect | None] = {}
        for name, column in zip(COSINES, values.T, strict=True):
            known = column[np.isfinite(column)]
            tested[sign + name] = Effect(*mean_of_few(known, level=level)) if len(known) > 1 else None
        return tested

    yield Claim("gradients", "At first the gradients of ids and modalities oppose each other", effects("-", -first))
    yield Claim(
        "gradients", f"The gradients of ids and modalities agree more by step {FIRST}", effects("", last - first)
    )


def _known_mean(values: Values) -> Values:
    """Means over the last axis of what is no NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(-1)
    means: Values = np.full(count.shape, np.nan)
    np.divide(np.where(known, values, 0).sum(-1), count, out=means, where=count > 0)
    return means


def _of_recall(found: _Evidence, evaluate: EvaluateConfig) -> Iterator[Claim]:
    for view in ("interest", "modal-similarity"):
        effects = _untested((HITS,))
        if found.recall is not None and found.recall["predictions"].sum() > 0:
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
    return {
        metric: Effect(*two_groups(cold[:, index], other[:, index], level=evaluate.level))
        for index, metric in enumerate(REPORTED)
    }


def _records(block: Block, claims: Sequence[Claim], level: float) -> list[tuple[object, ...]]:
    """Rows of the csv file; p is corrected over all rows of one kind in one block."""
    rows: list[tuple[object, ...]] = []
    for kind in KINDS:
        lines = [(c, metric, effect) for c in claims if c.kind == kind for metric, effect in c.effects.items()]
        tested = [index for index, (_, _, effect) in enumerate(lines) if effect is not None]
        adjusted = dict(zip(tested, holm([e.p_value for _, _, e in lines if e is not None]).tolist(), strict=True))
        for index, (claim, metric, effect) in enumerate(lines):
            names = (*block, kind, claim.text, metric, claim.in_paper)
            paper = claim.paper.get(metric)
            low, high = paper or (None, None)
            printed = (low, None if high == low else high)
            if effect is None:
                rows.append((*names, *(None,) * 3, *printed, None, None, UNTESTED))
                continue
            verdict = _verdict(effect, adjusted[index] <= 1 - level, paper) if claim.in_paper else ""
            measured = (effect.difference, effect.low, effect.high, *printed, effect.p_value, adjusted[index])
            rows.append((*names, *measured, verdict))
    return rows


def _verdict(effect: Effect, significant: bool, paper: Span | None) -> str:
    """What the measurement says of a claim.

    reproduced: better, and significantly so. contradicted: not reproduced, and the interval leaves out the paper's
    effect, or all of its span (where the paper prints none: all positive ones). undecided: the rest; the interval holds
    the paper's effect, and what there is of users and seeds does not tell it from none.
    """
    if effect.difference > 0 and significant:
        return "reproduced"
    outside = effect.high < 0 if paper is None else effect.high < paper[0] or paper[1] < effect.low
    return "contradicted" if outside else "undecided"


def _groups(frame: pl.DataFrame) -> list[Group]:
    groups = []
    for (dataset, history, kind), part in frame.group_by("dataset", "history", "kind", maintain_order=True):
        lines = []
        for (claim,), rows in part.group_by("claim", maintain_order=True):
            headline = (rows.filter(metric=MAIN) if MAIN in rows["metric"] else rows).row(0, named=True)
            ends = [headline[key] for key in ("paper", "paper_high") if headline[key] is not None]
            paper = Cell(" to ".join(f"{end:+.4f}" for end in ends))
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
    histories: list[Path],
    gradients: list[Path],
    main: list[str],
    ablations: list[str],
    fusion: list[str],
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
    those of the masked history. Claims about trainings (figures 2 and 3) are tested over seeds, by t-tests; they stand
    with those of the history kept.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of the runs of the three tables.
        modes: DATASET/runs/RUN/seed-N/modes.parquet (read) of the runs in retrieval.
        recalls: DATASET/recall.parquet (read) of all data sets.
        histories: DATASET/runs/RUN/seed-N/STAGE/history.parquet (read) of the baseline, and of the reference's stage 1.
        gradients: DATASET/runs/RUN/seed-N/gradients.parquet (read) of the run naive-fusion, of several seeds.
        main: runs of the main table.
        ablations: runs of the table of ablations.
        fusion: runs of the table of fusion.
        retrieval: runs of the table of modes of scoring.
        reference: run whose claims are tested.
        baseline: run that gains on cold users are compared with; it has ids alone.
        cold: share of the users that count as cold: those with the fewest training interactions.
        evaluate: the section evaluate of the configuration.
        paper: data set -> its name in the paper, or null.
        csv: the table (written), one row per data set, history, claim and metric: dataset, history (kept or masked),
            kind, claim, metric, in_paper, difference, ci_low, ci_high, paper, paper_high (where the paper gives a
            span), p_value, p_holm, verdict.
        tex: the printed table as a LaTeX float (written).
        html: the printed table as a page (written).
        md: the printed table as Markdown (written).

    Raises:
        DecorecError: a file is missing or damaged, or the files do not fit together.
    """
    runs = list(dict.fromkeys([*main, *ablations, *fusion]))
    trained = read_trainings(histories, gradients, baseline)
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
            *_of_modalities(evidence, evaluate, name),
            *_of_fusion(evidence, baseline, evaluate, name),
            *(_of_recall(evidence, evaluate) if block.history == "masked" else ()),
            *_of_modes(evidence, reference, evaluate),
            *_of_cold_users(evidence, reference, baseline, evaluate),
        ]
        if block.history == "kept":  # the best epochs are chosen so
            trainings = trained.get(block.dataset, Trainings())
            claims += _of_convergence(trainings, reference, baseline, evaluate.level)
            claims += _of_gradients(trainings, evaluate.level)
        records += _records(block, claims, evaluate.level)
    frame = pl.DataFrame(records, schema=SCHEMA, orient="row")
    table = Table(
        records=frame,
        caption="The paper's claims and the measurements",
        columns=[
            *("Claim", f"Difference, {MAIN}", "Interval", "In the paper", "p", "p (Holm)", "Verdict"),
            "Metrics reproduced",
        ],
        groups=_groups(frame),
        notes=[
            f"Difference: mean over users, in {MAIN} (recall: {HITS}); {percent(evaluate.level)} bootstrap "
            f"interval over users and over each run's seeds; p: two-sided paired permutation test, {FLIPS:,} sign "
            "patterns. The last claim about cold users compares two groups: Welch's t-test and its interval.",
            f"Figures 2 and 3 are about trainings: mean over seeds, t-tests and their intervals over seeds. Figure 2: "
            f"the best epoch itself, p of its lying outside {AROUND} epoch more or less than the paper's; then the "
            f"difference of two best epochs. Figure 3: minus the mean cosine of the first {EARLY} steps; then the mean "
            f"of steps {FIRST - EARLY + 1} to {FIRST} less that of the first {EARLY}.",
            "In the paper: the same difference of the figures printed there. They keep the history, and their cut-offs "
            "are most likely one larger. Figure 4: the loss that its text gives, "
            f"{' to '.join(f'{end:g}' for end in published().stated.fusion_loss_percent)} %, of our figure.",
            "p (Holm): corrected over all claims and metrics of one kind on one data set, for each treatment of the "
            f"history. Reproduced: the difference is positive and p (Holm) at most {1 - evaluate.level:.2g}. "
            "Contradicted: not so, and the interval leaves out the paper's effect, or all positive ones where the "
            "paper prints none. Undecided: the rest. Not testable here: a run or a second seed that the claim needs is "
            "missing.",
            f"Seeds per run: {', '.join(map(str, sorted(seeds)))}.",
        ],
    )
    write(table, csv, tex, html, md)
    logging.getLogger("decorec").info("%s: %d rows", csv, len(frame))
