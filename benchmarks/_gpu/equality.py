"""Whether the device computes what the processor does."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmarks._gpu.models import batches_of, built, item_data, small_world, stepper, trainings
from benchmarks._gpu.sizes import Found, Sizes, WrongResultError
from benchmarks._worlds import World
from decorec.data.batches import Batch
from decorec.evaluation.full_ranking import rank_users, score_users
from decorec.models.base import Recommender
from decorec.models.registry import build

__all__ = ["equality"]

VALUES = 1e-3
"""Largest difference of scores, and of gradients, as a share of the largest one."""
RANKS = 0.95
"""Least share of users whose target has the same rank; what ties on one device may be apart on the other."""


def equality(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Every model, trained for some steps on the processor: its gradients, scores and ranks there and on the device."""
    world = small_world(sizes)
    found: Found = {"tolerance_of_values": VALUES, "least_share_of_equal_ranks": RANKS, "models": {}}
    wrong = []
    for label, run, stage in trainings(sizes):
        model = built(run, world, stage, torch.device("cpu"))
        trained = any(parameter.requires_grad for parameter in model.parameters())
        if trained:
            step, batches = stepper(run, stage, model), batches_of(run, stage, model, world, sizes.targets)
            for batch in islice(batches, 5):
                step(batch)
        torch.manual_seed(0)  # what a model draws when it is built, and does not store
        other = build(run, item_data(world), stage)
        other.load_state_dict(model.own_state(), strict=False)
        other.to(device)
        ours, theirs = _scores(model, world), _scores(other, world)
        first, second = (rank_users(each, world.sequences, "test") for each in (model, other))
        apart = np.abs(first.mean_rank() - second.mean_rank())
        row = {
            "largest_difference_of_scores": _apart(ours, theirs),
            "share_of_equal_ranks": float((apart == 0).mean()),
            "largest_difference_of_ranks": float(apart.max()),
        }
        if trained:
            batch = next(batches)
            row["largest_difference_of_gradients"] = _apart(*(_gradients(each, batch) for each in (model, other)))
        found["models"][label] = row
        far = max(value for name, value in row.items() if name.endswith(("scores", "gradients")))
        if not (far <= VALUES and row["share_of_equal_ranks"] >= RANKS):
            wrong.append(label)
    if wrong:
        raise WrongResultError(f"beyond the tolerance: {', '.join(wrong)}", found)
    return found


def _apart(ours: Any, theirs: Any) -> float:
    """Largest difference of two arrays, as a share of the largest value of the first."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def _gradients(model: Recommender, batch: Batch) -> Any:
    """Of a batch without dropout, all in one array."""
    model.eval().zero_grad(set_to_none=True)
    model.loss(batch.to(model.item_data.device)).backward()  # type: ignore[no-untyped-call]
    return np.concatenate([p.grad.cpu().numpy().ravel() for p in model.parameters() if p.grad is not None])


def _scores(model: Recommender, world: World) -> Any:
    """Scores of all users and items, [U, I]."""
    found = np.empty((len(world.sequences.users), world.item_data.item_count))
    for chosen, scores, _ in score_users(model, world.sequences, "test"):
        found[chosen] = scores["kept"].double().cpu().numpy()
    return found
