"""What a job asks for of a GPU's memory, from its run and the size of its data: resource ``gpu_mb`` of a rule.

What the estimate is made of is in docs/how-to/gpu.md. It is to be too large rather than too small. Its numbers are
counted in the models' code and measured on a processor; none is measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from decorec.config.runs import Run
from decorec.evaluation.at_once import LOGITS_AT_ONCE, MORE_ON_GPU, TOKENS_AT_ONCE
from decorec.gpus import Card, room
from decorec.models.at_once import FEATURES, REPRESENTED, SQUARED
from decorec.nn.at_once import KEPT as LOGITS_KEPT
from decorec.plan.costs import size_of

__all__ = ["asked", "needed"]

LEAST = 1_500.0
"""MB of a process, whatever it computes: CUDA with its libraries, and weights that do not grow with the items."""
ENCODERS = 8_000
"""MB of the step ``features``, whose batches do not grow with the data."""
OF_IDS = {"all": 10, "some": 6}
"""Values for each value of an item's id: itself, its gradient, two moments, its average, that of the best epoch, and
what a step computes from it; where a step reads all items, or some of them (``train.negatives``)."""
OF_MODALITIES = {"all": 20, "some": 4}
"""The same for each value of an item's representation in a modality: layers of the adapter and of the enrichment with
their gradients, or of those that are ranked. Measured on a processor: 14 and 3 (docs/performance/training.md)."""
OF_TOKENS = 20
"""Values for each value of a token, in each layer, that a step keeps for its gradient."""
PASSING = 12
"""The same while a layer is computed without one."""
LOGITS_RANKED, TOKENS_RANKED = MORE_ON_GPU * LOGITS_AT_ONCE, MORE_ON_GPU * TOKENS_AT_ONCE
"""Logits and tokens of users that are ranked at once on a GPU."""
COPIES = 3
"""Arrays of the size of these logits."""
WHOLE_LOGITS = {"missrec": 8}
"""Models that hold the logits of a step whole, and how often."""


def needed(run: Run, stage: str, items: int, inputs: float) -> float:
    """MB that a training takes on the card, in one process; what reads its model afterwards takes less.

    Args:
        run: its model and its training.
        stage: one of its stages.
        items: of the data set.
        inputs: MB of its input files.
    """
    train = run.train.stage(stage)
    model: Any = run.model  # the keys of its width differ from model to model
    if not run.model.seeded:  # closed forms and counts
        return LEAST + 2 * inputs + _mb(_of_floor(model.name, items))
    read = "all" if train.negatives == "all" else "some"
    width = model.dim
    modalities = len([need for need in run.needs(stage) if need.startswith("features.")])
    layers = getattr(getattr(model, "encoder", model), "layers", 1)
    ids = OF_IDS[read] * items * width if stage != "stage1" else 0
    represented = OF_MODALITIES[read] * modalities * width * (items if read == "all" else min(items, REPRESENTED))
    prefixes = model.reads_prefixes or train.samples == "prefixes"
    tokens = train.batch_size * (model.length if prefixes else 1)
    states = max(1, modalities) * width * (OF_TOKENS * max(1, layers) * tokens + PASSING * TOKENS_RANKED)
    logits = LOGITS_KEPT + WHOLE_LOGITS.get(model.name, 0) * train.batch_size * items + COPIES * LOGITS_RANKED
    floor = run.experts.floor if stage == run.stages[-1] else None
    expert = _of_floor(floor.name, items) if floor is not None else 0
    # Features in float16 are float32 on the card.
    data = 2 * (inputs if read == "all" else min(inputs, _mb(FEATURES)))
    return LEAST + data + _mb(ids + represented + states + logits + expert)


def _of_floor(name: str, items: int) -> float:
    """Values of a closed form, or of counts, and of its scores."""
    pairs = min(items, SQUARED) ** 2 if "ease" in name else 0
    return COPIES * LOGITS_RANKED + 4 * pairs


def _mb(values: float) -> float:
    """Of so many values in float32."""
    return 4 * values / 1e6


def asked(
    cards: Callable[[], Sequence[Card]],
    tell: Callable[[str], object],
    trainings: Callable[[Any], Sequence[tuple[Run, str]]] | None = None,
    processes: Callable[[Any], int] = lambda wildcards: 1,
) -> Callable[[Any, Any, int, str], int]:
    """The resource ``gpu_mb`` of a rule, of all processes of a job together; as much again for each new attempt.

    0 where there is no GPU, or one whose memory is unknown. A job that needs more than a card has asks for the whole of
    the largest, where it starts alone.

    Args:
        cards: the GPUs, asked for when a job is looked at.
        tell: prints a warning.
        trainings: the stages of runs of which a job trains or ranks the largest; None: it encodes texts and pictures.
        processes: how many processes a job has, each of which takes this much on a card of its own.
    """
    told = set()

    def amount(wildcards: Any, input: Any, attempt: int, rulename: str) -> int:
        count = processes(wildcards)
        if (largest := room(cards(), count)) is None:
            return 0
        need = float(ENCODERS)
        if trainings is not None:
            inputs = input.size / 1e6  # where files are not there yet, Snakemake asks again later
            if (size := size_of(wildcards.dataset, [])) is None:
                return count * largest
            need = max(needed(run, stage, round(size.items), inputs) for run, stage in trainings(wildcards))
        job = " ".join([rulename, *wildcards])
        if attempt == 1 and need > largest and job not in told:
            told.add(job)
            section = "features" if trainings is None else "train"
            tell(
                f"{job}: expected to need {need / 1e3:.1f} GB on a GPU, found {largest / 1e3:.1f} GB on the largest; "
                f"it starts alone there. If it ends for want of memory, lower {section}.batch_size"
            )
        return count * min(round(attempt * need), largest)

    return amount
