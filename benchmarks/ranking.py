"""Full ranking: share of the matrix-product peak, memory, and equality of the ranks with those of users one by one.

DeCoRec with both modalities ranks every user's test item among all items. Counted are the operations that the
mathematics needs: keys and values of all tokens, the rest of the encoder for the last one, logits of both modalities
with the representations of both.

    python -m benchmarks ranking [--users 60000] [--items 16628] [--threads 1] [--checked 500]
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
import torch

from benchmarks._worlds import World, describe_machine, generated
from benchmarks.training import clock, peak
from decorec.artifacts.step_log import largest_memory
from decorec.config.runs import resolve
from decorec.data.batches import histories
from decorec.data.sequences import Sequences
from decorec.evaluation.full_ranking import rank_users
from decorec.models.registry import build

__all__ = ["main", "operations"]


def main() -> None:
    """Rank, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ranking")
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=16_628)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checked", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    world = generated("generated", options.items, options.users, 9.7)
    torch.manual_seed(0)
    run = resolve({}, "described", {})
    config: Any = run.model
    model = build(run, world.item_data, "stage1").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # away from the start, where all scores are nearly equal
        model.item_representations()
    first = peak(torch.float32)
    before = largest_memory(os.getpid())
    start = clock()
    found = rank_users(model, world.sequences, "test")
    seconds = clock() - start
    after = largest_memory(os.getpid())
    top = max(first, peak(torch.float32))
    users = options.users
    print(f"{users:,} users x {options.items:,} items, both modalities, mean rank {found.mean_rank().mean():.0f}")
    work = operations(world, config)
    rate, everything = work / seconds, users * options.items * 4 / 1e6
    print(f"  {seconds:.1f} s, {rate / 1e9:.0f} GFLOP/s, peak {top / 1e9:.0f}, share {rate / top:.2f}")
    print(f"  memory {(after - before) / 1e3:.0f} MB above what stood before; all scores: {everything:,.0f} MB")
    checked = min(options.checked, users)
    alone = [
        rank_users(model, _one(world.sequences, user), "test") == found[user : user + 1] for user in range(checked)
    ]
    print(f"  ranks of {checked} users one by one: {alone.count(False)} differ")


def operations(world: World, config: Any) -> float:
    """Floating-point operations of the ranking of every user, by DeCoRec of this section of a run."""
    modalities, dim, forward = len(config.modalities), config.dim, config.encoder.feed_forward
    sizes = histories(world.sequences, "test", config.length).size
    tokens, users = int(sizes.sum()), len(sizes)
    work = modalities * 2.0 * (tokens * 2 * dim * dim + users * (2 * dim * dim + 2 * dim * forward) + tokens * 2 * dim)
    return float(work + 2.0 * modalities * users * modalities * world.item_data.item_count * dim)


def _one(sequences: Sequences, user: int) -> Sequences:
    begin, end = sequences.offsets[user : user + 2]
    return Sequences([""], np.array([0, end - begin]), sequences.items[begin:end])


if __name__ == "__main__":
    main()
