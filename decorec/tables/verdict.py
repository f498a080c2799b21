"""Step verdict: do text and pictures help on this data set, which model to take, and what the figures hide."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, RootModel

from decorec.artifacts.files import write_json, write_text
from decorec.artifacts.schemas.ranks import HISTORIES, History
from decorec.config.evaluation import EvaluateConfig
from decorec.errors import DecorecError
from decorec.evaluation.significance import interval_over_seeds
from decorec.tables.collect import Block, RunRanks, read_runs
from decorec.tables.cost import Cost, Stages, cost_of
from decorec.tables.hidden import hidden_by_the_data
from decorec.tables.labels import short
from decorec.tables.render import markdown_rows, percent
from decorec.tables.summary import per_seed

__all__ = ["METRIC", "Twins", "Verdict", "VerdictRow", "customers_needed", "per_thousand", "verdict"]

METRIC = "Hit@10"
NOUNS = {"text": "text", "image": "pictures"}
"""Modality -> what a customer sees; others keep their name."""
PLURAL = {"pictures"}
CLOSE = 1.1
"""Models whose cost is at most this factor apart count as equally simple: a measured second varies from run to run."""

Answer = Literal["help", "no help", "unknown"]


class Twins(RootModel[dict[str, list[str]]]):
    """Run -> the modalities that it has: runs that differ in nothing else, one of them without any."""


class VerdictRow(BaseModel):
    """One run: what it has, and its METRIC by treatment of the history, all as shares of the customers."""

    run: str
    reads: str
    """What it reads besides the order of the purchases, in words; "" for nothing."""
    mean: dict[History, float]
    difference: dict[History, tuple[float, float, float]]
    """Difference, low, high: to the run without modalities on test items (twins), or to the best model on validation
    items (models)."""
    seconds: float | None = None
    """Processor seconds of everything that only this model needs; None: not measured."""
    memory: float | None = None
    """Largest resident memory, in MB."""


class Verdict(BaseModel):
    """verdict.json: the content of verdict.md."""

    sentence: str
    answer: Answer
    customers: int | None
    """About how many would tell; None if they do."""
    twins: list[VerdictRow]
    choice: str
    chosen: str
    models: list[VerdictRow]
    hidden: list[str]
    notes: list[str]


def per_thousand(share: float, sign: str = "") -> str:
    """A share as customers of 1,000; differences with one decimal and their sign."""
    return f"{1000 * share:{sign}.1f}" if sign else f"{1000 * share:.0f}"


def in_words(modalities: Sequence[str]) -> str:
    """Modalities as a customer would say it, in the order of NOUNS: text and pictures."""
    known = [name for name in NOUNS if name in modalities]
    nouns = [NOUNS.get(name, name) for name in (*known, *(name for name in modalities if name not in NOUNS))]
    return " and ".join(filter(None, [", ".join(nouns[:-1]), *nouns[-1:]]))


def _effect(one: RunRanks, other: RunRanks, evaluate: EvaluateConfig) -> tuple[float, float, float]:
    """Difference in METRIC of two runs, and its interval over users and each run's seeds; of a run and itself 0."""
    if one is other:
        return 0.0, 0.0, 0.0
    values = per_seed(one, (METRIC,)), per_seed(other, (METRIC,))
    low, high = interval_over_seeds(*values, resamples=evaluate.bootstrap, level=evaluate.level)
    return float(values[0].mean() - values[1].mean()), float(low[0]), float(high[0])


def _mean(run: RunRanks) -> float:
    return float(per_seed(run, (METRIC,)).mean())


def customers_needed(users: int, low: float, high: float, smallest: float) -> int:
    """Number of customers whose interval would be as wide as ``smallest``, to two digits.

    The width of an interval falls with the root of the number of customers (planning for precision: Kelley and Rausch
    2006, Psychological Methods 11, 363-385), so U * ((high - low) / smallest)^2. Then half the width is half of
    ``smallest``: a true effect of ``smallest`` leaves 0 outside of most intervals, and a true effect of 0 leaves
    ``smallest`` outside. Of 95 % intervals about 98 of 100 do: the distance is 2 * 1.96 standard errors.

    Args:
        users: number of customers of the interval.
        low: its lower end.
        high: its upper end.
        smallest: the smallest effect of interest.
    """
    needed = users * ((high - low) / smallest) ** 2
    digits = max(0, math.floor(math.log10(needed)) - 1) if needed >= 1 else 0
    unit: int = 10**digits
    return math.ceil(needed / unit) * unit


def answer(low: float, high: float, smallest: float) -> Answer:
    """help: the interval lies above 0; no help: it lies below ``smallest`` (Lakens 2017); otherwise unknown."""
    if low > 0:
        return "help"
    return "no help" if high < smallest else "unknown"


@dataclass(frozen=True)
class _Question:
    """What the twins are asked on one data set."""

    runs: Mapping[History, Mapping[str, RunRanks]]
    twins: Mapping[str, Sequence[str]]
    evaluate: EvaluateConfig
    smallest: float

    @property
    def whole(self) -> str:
        """The run with the most modalities."""
        return max(self.twins, key=lambda run: len(self.twins[run]))

    @property
    def without(self) -> str:
        """The run without any."""
        return min(self.twins, key=lambda run: len(self.twins[run]))

    def row(self, run: str) -> VerdictRow:
        """A twin against the run without modalities."""
        return VerdictRow(
            run=run,
            reads=in_words(self.twins[run]),
            mean={history: _mean(runs[run]) for history, runs in self.runs.items()},
            difference={
                history: _effect(runs[run], runs[self.without], self.evaluate) for history, runs in self.runs.items()
            },
        )

    def sentence(self) -> tuple[str, Answer, int | None]:
        """The verdict in words, what it is, and how many customers would tell."""
        with_, without = self.row(self.whole), self.row(self.without)
        difference, low, high = with_.difference["kept"]
        nouns = in_words(self.twins[self.whole])
        they = "it" if len(self.twins[self.whole]) == 1 and nouns not in PLURAL else "they"
        found, needed = answer(low, high, self.smallest), None
        if found == "help":
            end = f"{they} help{'s' if they == 'it' else ''}"
            end += f", by less than {1000 * self.smallest:g} of 1,000" if high < self.smallest else ""
        elif found == "no help":
            end = f"{they} do{'es' if they == 'it' else ''} not help"
            end += f"; without {'it' if they == 'it' else 'them'} it is better" if high < 0 else ""
        else:
            users = self.runs["kept"][self.whole].users
            needed = customers_needed(users, low, high, self.smallest)
            end = f"whether {they} help{'s' if they == 'it' else ''} cannot be told from these data; "
            end += f"about {needed:,} customers would tell"
        text = (
            f"Of 1,000 customers, the next purchase is among the first ten for {per_thousand(with_.mean['kept'])} with "
            f"{nouns} and for {per_thousand(without.mean['kept'])} without (difference "
            f"{per_thousand(difference, '+')}, {percent(self.evaluate.level)} interval {per_thousand(low, '+')} to "
            f"{per_thousand(high, '+')}): {end}."
        )
        return text, found, needed


def _models(
    found: Mapping[History, Mapping[str, RunRanks]],
    validated: Mapping[History, Mapping[str, RunRanks]],
    reads: Mapping[str, Sequence[str]],
    costs: Mapping[str, Cost],
    evaluate: EvaluateConfig,
) -> list[VerdictRow]:
    """All runs against the best one on validation items with the history kept, best first.

    Their means are those of the test items, by which nothing is chosen.
    """
    order = sorted(found["kept"], key=lambda run: -_mean(validated["kept"][run]))
    return [
        VerdictRow(
            run=run,
            reads=in_words(reads.get(run, [])),
            mean={history: _mean(runs[run]) for history, runs in found.items()},
            difference={history: _effect(runs[run], runs[order[0]], evaluate) for history, runs in validated.items()},
            seconds=costs[run].seconds,
            memory=costs[run].memory,
        )
        for run in order
    ]


def simplest(rows: Sequence[VerdictRow]) -> VerdictRow:
    """The simplest model within noise of the best, ``rows[0]``.

    Within noise: the interval of the difference to the best one, on validation items, holds 0. Simplest: the least
    processor time; of those that take at most CLOSE times as much, the one with the best METRIC there. Where nothing
    was measured, the best.
    """
    near = [row for row in rows if row.difference["kept"][2] >= 0]
    known = [row.seconds for row in near if row.seconds is not None]
    cheap = [row for row in near if row.seconds is not None and row.seconds <= CLOSE * min(known)]
    return cheap[0] if cheap else rows[0]


def _choice(rows: Sequence[VerdictRow], level: float) -> tuple[str, str]:
    """Which model to take, in a sentence, and its run."""
    best, taken = rows[0], simplest(rows)
    text = f"Take {short(taken.run)}: {per_thousand(taken.mean['kept'])} of 1,000"
    text += "" if taken.seconds is None else f", {taken.seconds:,.0f} processor seconds"
    text += "" if taken.memory is None else f", {taken.memory:,.0f} MB"
    if taken.run == best.run:
        known = any(row.seconds is not None for row in rows)
        others = "no simpler one is within noise of it" if known else "which ones are simpler was not measured"
        return f"{text}. It is the best one on validation items, and {others}.", taken.run
    difference, low, high = (per_thousand(value, "+") for value in taken.difference["kept"])
    text += f". On validation items it is the simplest one within noise of the best, {short(best.run)} with "
    text += f"{per_thousand(best.mean['kept'])} of 1,000"
    text += "" if best.seconds is None else f" and {best.seconds:,.0f} processor seconds"
    text += f" (difference on validation items {difference}, {percent(level)} interval {low} to {high})."
    return text, taken.run


def _encoder(found: Mapping[str, RunRanks], evaluate: EvaluateConfig) -> list[str]:
    """What the vectors of texts and pictures are worth by themselves: content-knn against popularity."""
    content, popular = "content-knn", "popularity"
    if content not in found or popular not in found:
        return ["What the encoder is worth by itself is not known: content-knn and popularity are not both compared."]
    difference, low, high = _effect(found[content], found[popular], evaluate)
    judged = (
        "more than popularity"
        if low > 0
        else "less than popularity: look at the encoder first"
        if high < 0
        else "no more than popularity as far as these data tell"
    )
    return [
        "The vectors of texts and pictures alone, without any training on purchases (content-kNN), find "
        f"{per_thousand(_mean(found[content]))} of 1,000, popularity {per_thousand(_mean(found[popular]))} (difference "
        f"{per_thousand(difference, '+')}, interval {per_thousand(low, '+')} to {per_thousand(high, '+')}): {judged}."
    ]


def _notes(question: _Question) -> list[str]:
    evaluate, smallest = question.evaluate, f"{1000 * question.smallest:g}"
    users = question.runs["kept"][question.whole].users
    return [
        f"{METRIC} on the test targets of {users:,} customers, all items ranked, the history kept among them; a tie "
        "counts as the mean over its orders. With and without are the same model with the same values but for "
        f"model.modalities: {', '.join(short(run) for run in question.twins)}.",
        f"Intervals: {percent(evaluate.level)} bootstrap over customers and over each run's seeds, "
        f"{evaluate.bootstrap:,} resamples.",
        f"They help: the interval lies above 0. They do not help: it lies below {smallest} of 1,000, the smallest "
        "difference that matters (tables.smallest_effect). Otherwise it cannot be told; the number of customers that "
        "would tell is that of an interval as wide as this smallest difference, customers x (width / smallest "
        "difference)^2. More seeds narrow it too.",
        "Simplest: the least processor time for one training, one ranking of all customers and, where the model reads "
        f"texts or pictures, fetching and encoding them; costs within a factor of {CLOSE} count as equal, and then the "
        "better model is taken. All of this is judged on the validation items (validation.parquet), as is the order of "
        "the models; the test items are counted and choose nothing.",
    ]


def _document(dataset: str, found: Verdict) -> str:
    """verdict.md."""

    def cells(row: VerdictRow, history: History) -> list[str]:
        difference, low, high = (per_thousand(value, "+") for value in row.difference[history])
        same = row.difference[history] == (0.0, 0.0, 0.0)
        return [per_thousand(row.mean[history]), "" if same else f"{difference} ({low} to {high})"]

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}"

    def names(what: str) -> list[str]:
        return [text for history in HISTORIES for text in (f"of 1,000, history {history}", what)]

    both = [
        [short(row.run), row.reads or "neither", *(cell for history in HISTORIES for cell in cells(row, history))]
        for row in found.twins
    ]
    models = [
        [
            *(short(row.run), row.reads or "purchases alone", *cells(row, "kept"), per_thousand(row.mean["masked"])),
            *(number(row.seconds), number(row.memory)),
        ]
        for row in found.models
    ]
    columns = [
        "of 1,000, history kept",
        "to the best, on validation items",
        "of 1,000, history masked",
        "processor seconds",
        "MB",
    ]
    lines = [
        found.sentence,
        "",
        f"# {dataset}",
        "",
        *markdown_rows(["run", "reads", *names("to without")], both),
        "## Which model to take",
        "",
        found.choice,
        "",
        *markdown_rows(["model", "reads", *columns], models),
        "## What the figures hide",
        "",
        *(f"- {text}" for text in found.hidden),
        "",
        "## How this is computed",
        "",
        *(f"- {text}" for text in found.notes),
    ]
    return "\n".join(lines) + "\n"


def verdict(
    *,
    ranks: list[Path],
    validation: list[Path],
    twins: Twins,
    reads: Twins,
    stages: Stages,
    benchmarks: Path,
    statistics: Path,
    counts: Path | None = None,
    features: list[Path],
    smallest_effect: float,
    evaluate: EvaluateConfig,
    document: Path,
    output: Path,
) -> None:
    """Say in one sentence whether text and pictures help on a data set, which model to take, and what is hidden.

    Args:
        ranks: DATASET/runs/RUN/seed-N/ranks.parquet (read) of one data set, of all runs of ``twins`` and ``reads``.
        validation: validation.parquet (read) beside each of them: what is taken is chosen by these.
        twins: run -> its modalities, of runs that differ in nothing else; one has none.
        reads: run -> the modalities that it reads, of all other runs that are compared.
        stages: run -> each stage that is trained for it -> the run whose training that is.
        benchmarks: folder of the measurements (read).
        statistics: statistics.json (read).
        counts: ingest.json (read); none for given splits.
        features: features/MODALITY.safetensors (read) of the modalities of the data set.
        smallest_effect: smallest difference of Hit@10 that matters.
        evaluate: the section evaluate of the configuration.
        document: verdict.md (written), whose first line is the verdict.
        output: verdict.json (written), the same as values.

    Raises:
        DecorecError: the files do not fit together, or no two runs have and have not modalities.
    """
    known = {**reads.root, **twins.root}
    if not any(twins.root.values()) or all(twins.root.values()):
        raise DecorecError(
            f"--twins: expected a run with modalities and one without, found {', '.join(twins.root) or 'none'}; "
            "evaluate both, with features that the data set has"
        )
    read = read_runs(ranks, list(known))
    if len({block.dataset for block in read}) > 1:
        raise DecorecError("--ranks: expected files of one data set, found several; give each its own verdict")
    dataset = next(iter(read)).dataset
    found = {history: read[Block(dataset, history)] for history in HISTORIES}
    question = _Question(found, twins.root, evaluate, smallest_effect)
    sentence, said, needed = question.sentence()
    costs = {run: cost_of(run, stages.root[run], dataset, benchmarks, bool(known[run])) for run in known}
    validated = read_runs(validation, list(known), split="valid")
    chosen_by = {history: validated[Block(dataset, history)] for history in HISTORIES}
    rows = _models(found, chosen_by, known, costs, evaluate)
    choice, chosen = _choice(rows, evaluate.level)
    result = Verdict(
        sentence=sentence,
        answer=said,
        customers=needed,
        twins=[question.row(run) for run in twins.root],
        choice=choice,
        chosen=chosen,
        models=rows,
        hidden=[*hidden_by_the_data(statistics, counts, features), *_encoder(found["kept"], evaluate)],
        notes=_notes(question),
    )
    write_text(document, _document(dataset, result))
    write_json(output, result.model_dump(mode="json"))
    logging.getLogger("decorec").info("%s: %s", document, sentence)
