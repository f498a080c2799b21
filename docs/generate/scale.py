"""The tables of docs/scale.md: what a very large shop would take in each step, from what is measured on other pages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decorec.evaluation.at_once import ITEMS_AT_ONCE
from docs.generate import REPOSITORY
from docs.generate.cells import SECONDS, Cell

__all__ = ["STEPS", "TENSORS", "steps", "tensors"]

USERS, ITEMS, INTERACTIONS = 100_000_000, 10_000_000, 1_000_000_000
EPOCHS = 30
"""Passes over the interactions until a training ends: an assumption, of the order of what models need on Scientific."""
WIDTH, FEATURES = 256, 512
"""Of a model, and of the features of one modality."""
DATA, TRAINING, ACQUISITION = "performance/data.md", "performance/training.md", "performance/acquisition.md"


@dataclass(frozen=True)
class Step:
    """Processor time and memory of a step: measured for an amount, and in proportion for that of the large shop."""

    name: str
    cell: Cell
    """Processor time."""
    amount: tuple[str, ...]
    """Numbers on the same page whose product is what the time was measured for; empty: the time is that of one."""
    unit: str
    """What is counted."""
    there: int
    bends: str
    """What of the design does not hold at that size."""
    memory: Cell | None = None
    """Measured beside the time, in GB; or what one more takes, in bytes."""
    seconds: str = ""
    """Unit of the time, where the cell itself does not name it."""

    def growth(self) -> float:
        """How many times the measured amount the shop has."""
        return self.there / math.prod(float(number.replace(",", "")) for number in self.amount)

    def hours(self) -> float:
        """Core hours there."""
        unit = self.seconds or self.cell.text().split(", ")[0].split()[1]
        return self.cell.number() * SECONDS[unit] * self.growth() / 3600

    def held(self) -> str:
        """GB at once there; "" where none were measured."""
        if self.memory is None:
            return ""
        return _round(self.memory.number() * (self.there / 1e9 if "bytes" in self.memory.text() else self.growth()))


@dataclass(frozen=True)
class Tensor:
    """What stands in memory at once, or on the disk: its sides, and the bytes of an element."""

    name: str
    shape: tuple[int, ...]
    bends: str
    size: int = 4


STEPS = (
    Step(
        "ingest",
        Cell(DATA, "Many files", "100,000,000", "ingest, processor"),
        ("100,000,000",),
        "interactions",
        INTERACTIONS,
        "one process holds all of it, as numbers",
        Cell(DATA, "Many files", "growth, an interaction", "ingest, memory"),
    ),
    Step(
        "split",
        Cell(DATA, "Many files", "100,000,000", "split, processor"),
        ("100,000,000",),
        "interactions",
        INTERACTIONS,
        "as ingest",
        Cell(DATA, "Many files", "growth, an interaction", "split, memory"),
    ),
    Step(
        "crawl",
        Cell(ACQUISITION, "Crawl beside img2dataset", "decorec", "processor time per picture"),
        (),
        "pictures",
        ITEMS,
        "networks and the limits of hosts are slower than that",
    ),
    Step(
        "features of pictures, without a GPU",
        Cell(ACQUISITION, "Encoding beside clip-retrieval", "decorec", "a picture"),
        (),
        "pictures",
        ITEMS,
        "work for GPUs, of which no rate is measured yet",
    ),
    Step(
        "features of texts, without a GPU",
        Cell(ACQUISITION, "Encoding beside clip-retrieval", "decorec", "a text"),
        (),
        "texts",
        ITEMS,
        "as pictures",
    ),
    Step(
        "co-occurrence",
        Cell(DATA, "Co-occurrence", "step, a process (files, checks, loading of the loops)", "processor"),
        ("9,926,657",),
        "interactions",
        INTERACTIONS,
        "pairs grow with the square of a history: `graph.window`, `graph.top`",
        Cell(DATA, "Co-occurrence", "step, a process (files, checks, loading of the loops)", "memory"),
    ),
    Step(
        "clusters of one modality",
        Cell(DATA, "In two levels", "1,000,000 x 512 into 20,000", "processor"),
        ("2.8e8",),
        "pairs of two levels, with a tenth as many clusters as items",
        2 * ITEMS * math.isqrt(ITEMS // 10),
        "features are read whole into one process",
    ),
    Step(
        "stage 1, one modality, sampled negatives",
        Cell(TRAINING, "A million items", "1,000,000", "sampled, s per target"),
        (),
        f"targets, in {EPOCHS} epochs",
        EPOCHS * INTERACTIONS,
        "ids are whole in each process: `train.devices`, `train.nodes`",
        seconds="s",
    ),
    Step(
        "SASRec, sampled negatives",
        Cell(TRAINING, "A million items", "1,000,000", "SASRec, sampled"),
        (),
        f"targets, in {EPOCHS} epochs",
        EPOCHS * INTERACTIONS,
        "as stage 1",
        seconds="s",
    ),
    Step(
        "ranking of all items for every user",
        Cell(TRAINING, "A million items", "1,000,000", "ranking, s per user"),
        ("1,000,000",),
        "pairs of a user and an item",
        USERS * ITEMS,
        "a sample of the users has to be enough; choosing one is not built",
        seconds="s",
    ),
)
TENSORS = (
    Tensor(
        "features of one modality, in float16",
        (ITEMS, FEATURES),
        "on the disk with `train.negatives`, and checkpoints refer to them; otherwise twice that, in memory",
        2,
    ),
    Tensor("representations of two modalities", (2, ITEMS, WIDTH), "never whole in models that rank in tiles"),
    Tensor("representations of a tile", (2, ITEMS_AT_ONCE, WIDTH), ""),
    Tensor("ids", (ITEMS, WIDTH), "always in memory, in float32; twice while a checkpoint is read"),
    Tensor("their first moment", (ITEMS, WIDTH), "none with `train.id_momentum: false`"),
    Tensor("their second moments and counts of steps", (2, ITEMS), ""),
    Tensor("their average", (ITEMS, WIDTH), "none with `train.averaging: 0`"),
    Tensor("those of the best epoch", (ITEMS, WIDTH), "held from the first epoch on"),
    Tensor("coefficients of EASE", (ITEMS, ITEMS), "refused above 20,000 items: `neighbours`"),
)


def steps() -> str:
    """The table of steps, as markdown.

    Raises:
        ValueError: a page has not the cell, or not the amount that it was measured for.
    """
    lines = ["| step | measured | there | core hours | GB at once | where it bends |", "|---|---|---|---|---|---|"]
    for step in STEPS:
        text = (REPOSITORY / "docs" / step.cell.page).read_text(encoding="utf-8")
        if absent := [number for number in step.amount if number not in text]:
            raise ValueError(f"{step.cell.page}: expected the amount {absent[0]} of {step.name}, found none")
        measured = f"[{step.cell.text().split(', ')[0]}{' ' * bool(step.seconds)}{step.seconds}]({step.cell.anchor})"
        measured += f" for {' x '.join(step.amount)}" if step.amount else " for one"
        there = f"{_count(step.there)} {step.unit}"
        lines.append(f"| {step.name} | {measured} | {there} | {_round(step.hours())} | {step.held()} | {step.bends} |")
    return "\n".join(lines)


def tensors() -> str:
    """The table of tensors, as markdown."""
    lines = ["| what | elements | GB | where it bends |", "|---|---|---|---|"]
    for one in TENSORS:
        shape = " x ".join(f"{side:,}" for side in one.shape)
        lines.append(f"| {one.name} | {shape} | {_round(one.size * math.prod(one.shape) / 1e9)} | {one.bends} |")
    return "\n".join(lines)


def _count(number: int) -> str:
    """With the word for a thousand millions, where it has more zeros than are read at once."""
    return f"{number // 10**9:,} billion" if number >= 10**9 else f"{number:,}"


def _round(value: float) -> str:
    """Two digits that count."""
    return f"{float(f'{value:.2g}'):,.10g}"
