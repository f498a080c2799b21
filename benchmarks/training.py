"""Share of the processor's matrix-product rate that a training step reaches, and where the rest of the time goes.

Counted are the floating-point operations that the mathematics needs: real tokens only, causal halves of the attention
only, all representations, each product once forward and once per gradient that is needed. The peak is the best rate of
dense products in the same type in the same run, measured before and after. With one thread times are processor times:
on a machine that has other work they are steadier than the clock, and on a quiet one the same.

    python -m benchmarks training [--threads 1] [--precision fp32 bf16] [--sizes scientific office] [--steps 10]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks._worlds import World, describe_machine, generated
from decorec.config.runs import resolve
from decorec.data.batches import Batch, training_windows
from decorec.models.registry import build
from decorec.nn.losses import cross_modal_loss
from decorec.nn.matmul import product
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["best_of", "main", "peak"]

SIZES: dict[str, dict[str, Any]] = {
    "scientific": {"items": 1_585, "users": 2_928, "mean": 6.7},
    "office": {"items": 16_628, "users": 60_000, "mean": 7.67},
}
"""Office: the paper counts 400,208 interactions, one fewer than there are per user, and a sparsity of 99.960 %."""
MODELS = (("decorec", "stage1"), ("decorec", "stage2"), ("sasrec", "fit"))
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (1024, 3170, 300), (1200, 900, 300))


def main() -> None:
    """Print one table per size, precision and model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--models", nargs="+", default=[stage for _, stage in MODELS])
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine())
    for size in options.sizes:
        world = generated(size, **SIZES[size])
        for precision in options.precision:
            for name, stage in MODELS:
                if stage in options.models:
                    report(world, name, stage, precision, options.steps)


def clock() -> float:
    """Seconds of processor time with one thread, of the clock with more."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def best_of(rounds: int, call: Callable[[], object]) -> float:
    """Least seconds of ``rounds`` calls, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times[1:])


def peak(dtype: torch.dtype) -> float:
    """Best rate of dense products, floating-point operations per second."""
    rates = []
    for m, n, k in SHAPES:
        left, right = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        for call in (lambda x=left, y=right: product(x, y), lambda x=left, y=right: x @ y.T):
            rates.append(2 * m * n * k / best_of(5, call))
    return max(rates)


def operations(model: Any, world: World, batch: Batch) -> dict[str, float]:
    """Floating-point operations of one training step, by part."""
    config, stage, items = model.config, model.stage, world.item_data.item_count
    dim, encoder, tokens, predictions = config.dim, config.encoder, len(batch.items), len(batch.targets)
    lengths = torch.cat([group.lengths for group in batch.groups]).double()
    modalities = len(config.modalities) if config.name == "decorec" else 1
    per_layer = 2 * tokens * dim * 3 * dim + 2 * dim * float((lengths * (lengths + 1)).sum())
    per_layer += 2 * predictions * (dim * dim + 2 * dim * encoder.feed_forward)
    parts = {
        "encoder": 3.0 * modalities * encoder.layers * per_layer,
        "logits and loss": 3.0 * 2 * modalities * predictions * modalities * items * dim,
    }
    if config.name == "decorec":
        hops = modalities if stage == "stage1" else config.id_layers
        parts["graph"] = 2 * hops * 2 * len(world.item_data["graph.col"]) * dim
        hidden = config.adapter_hidden or dim
        first, second = 2 * items * 512 * hidden, 2 * items * hidden * dim
        if stage == "stage1":  # no gradient with respect to the features
            parts["adapters"] = modalities * (2 * first + 3 * second)
        else:
            parts["adapters"] = 3.0 * modalities * 2 * (items // 10) * 2 * dim * dim  # the interests' MLP
    return parts


def report(world: World, name: str, stage: str, precision: str, steps: int) -> None:
    """Measure one model and print its table."""
    run = resolve({}, "described", {"model": {"name": name}, "train": {"precision": precision}})
    config = run.train.stage(stage)
    torch.manual_seed(0)
    model: Any = build(run, world.item_data, stage)
    windows = training_windows(world.sequences, run.model.length)
    adam, average = build_optimizer(model, config), ExponentialMovingAverage(model, config.averaging)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)
    before = peak(dtype)
    times: list[float] = []
    rates: list[float] = []
    parts: dict[str, list[float]] = {}
    counted: list[dict[str, float]] = []
    batches = windows.epoch(config.batch_size, generator)
    for _ in range(steps + 1):
        start = clock()
        batch = next(batches)
        loaded = clock()
        train_step(model, batch, adam, config, 1.0)
        average.update()
        times.append(clock() - start)
        counted.append(operations(model, world, batch))
        rates.append(sum(counted[-1].values()) / times[-1])
        parts.setdefault("data", []).append(loaded - start)
        for part, seconds in breakdown(model, batch, dtype):
            parts.setdefault(part, []).append(seconds)
    top = max(before, peak(dtype))
    typical, rate = median(times[1:]), median(rates[1:])
    print(f"\n{world.name}, {name} {stage}, {precision}: {windows.target_count:,} targets an epoch")
    print(f"  peak {top / 1e9:.0f} GFLOP/s, step {typical * 1e3:.1f} ms, {rate / 1e9:.0f} GFLOP/s")
    print(f"  share of the peak {rate / top:.2f}; best step {max(rates[1:]) / top:.2f}")
    print(f"  epoch {typical * windows.target_count / config.batch_size:.2f} s")
    known = 0.0
    for part, values in parts.items():
        seconds = median(values[1:])
        known += seconds
        work = median(step_parts.get(part, 0.0) for step_parts in counted)
        share = f"{work / seconds / top:5.2f} of the peak" if work else ""
        print(f"    {part:<16} {seconds * 1e3:8.1f} ms {seconds / typical:6.1%} {work / 1e9:7.2f} GFLOP {share}")
    rest = typical - known
    print(f"    {'optimizer, rest':<16} {rest * 1e3:8.1f} ms {rest / typical:6.1%}", flush=True)


def breakdown(model: Any, batch: Batch, dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Seconds of the parts of one step, forward and backward, each by itself on the same batch."""
    low = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    decorec = model.config.name == "decorec"
    temperature, alpha = (model.config.temperature, model.config.alpha) if decorec else (1.0, 1.0)

    def leaf(x: Tensor) -> Tensor:
        return x.detach().requires_grad_()

    start = clock()
    with low:
        representations = model.item_representations()
    made = clock() - start
    known = leaf(representations)
    start = clock()
    with low:
        states = model._states(batch, known)
    encoded = clock() - start
    reached = leaf(states)
    start = clock()
    with low:
        cross_modal_loss(reached, known, batch.targets, temperature, alpha).backward()  # type: ignore[no-untyped-call]
    yield "logits and loss", clock() - start
    assert reached.grad is not None and known.grad is not None
    start = clock()
    states.backward(reached.grad)
    yield "encoder", encoded + clock() - start
    if decorec:
        start = clock()
        representations.backward(known.grad)
        made += clock() - start
        one = leaf(representations[0].float())
        start = clock()
        model.graph(one).sum().backward()
        graph = (clock() - start) * (len(representations) if model.stage == "stage1" else model.config.id_layers)
        yield "graph", graph
        yield "adapters", made - graph
    model.zero_grad(set_to_none=True)
