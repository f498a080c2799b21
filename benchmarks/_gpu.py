"""The parts of the benchmark gpu: each measures one thing on a device and returns values for JSON."""

from __future__ import annotations

import platform
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._worlds import World, generated
from benchmarks.ranking import operations as ranking_operations
from benchmarks.training import MODELS as TIMED
from benchmarks.training import SIZES as WORLDS
from benchmarks.training import operations as training_operations
from decorec.config.runs import Run, resolve
from decorec.data.batches import Batch
from decorec.evaluation.full_ranking import rank_users, score_users
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.missrec import lloyd
from decorec.models.registry import MODELS, build
from decorec.prepare.clustering import kmeans
from decorec.training.ema import ExponentialMovingAverage
from decorec.training.loop import train_step
from decorec.training.optimizer import build_optimizer

__all__ = ["PARTS", "SIZES", "Part", "Sizes", "WrongResultError"]

Found = dict[str, Any]
VALUES = 1e-3
"""Largest difference of scores, and of gradients, as a share of the largest one."""
RANKS = 0.95
"""Least share of users whose target has the same rank; what ties on one device may be apart on the other."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls during which the processor does nothing but wait for the GPU."""
STEP = "training step"
FLOORS = ("popularity", "item-knn", "content-knn", "hybrid-knn", "ease", "content-ease", "vstan")
"""Models without a width."""


class WrongResultError(Exception):
    """What was computed is not what was expected; the values are kept beside the message."""

    def __init__(self, message: str, found: Found) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Sizes:
    """How much each part computes."""

    items: int
    """Of the made data set of equality and waits, and as many users."""
    targets: int
    """Of their training steps."""
    width: dict[str, int]
    """Of their models: dim, or nothing for the defaults."""
    world: dict[str, Any]
    """Of training and ranking."""
    products: tuple[int, ...]
    """Sides of the square products whose best rate is the peak."""
    steps: int
    """Most training steps that are timed."""
    encoder: str
    pictures: int
    drawn: int
    """Different ones among the pictures."""
    batch: int
    """Pictures encoded together."""
    vectors: int
    clusters: int
    centroids: int
    """Clusters of k-means on the device, as MISSRec computes it."""


SIZES = {
    "full": Sizes(
        items=2000,
        targets=256,
        width={},
        world=WORLDS["office"],
        products=(2048, 4096, 8192),
        steps=1000,
        encoder="ViT-B-32-quickgelu",
        pictures=16_384,
        drawn=512,
        batch=256,
        vectors=200_000,
        clusters=200,
        centroids=2000,
    ),
    "small": Sizes(
        items=40,
        targets=32,
        width={"dim": 16},
        world={"items": 40, "users": 50, "mean": 5.5},
        products=(64,),
        steps=1,
        encoder="small-clip",
        pictures=4,
        drawn=2,
        batch=2,
        vectors=100,
        clusters=4,
        centroids=4,
    ),
}


def environment(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """What computes."""
    found: Found = {
        "device": device.type,
        "card": None,
        "memory_bytes": None,
        "capability": None,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"card": properties.name, "memory_bytes": properties.total_memory}
        found["capability"] = f"{properties.major}.{properties.minor}"
    return found


def _driver() -> str | None:
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.split("\n")[0].strip() or None if said.returncode == 0 else None


def equality(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Every model, trained for some steps on the processor: its gradients, scores and ranks there and on the device."""
    world = _small_world(sizes)
    found: Found = {"tolerance_of_values": VALUES, "least_share_of_equal_ranks": RANKS, "models": {}}
    wrong = []
    for label, run, stage in _trainings(sizes):
        model = _built(run, world, stage, torch.device("cpu"))
        trained = any(parameter.requires_grad for parameter in model.parameters())
        if trained:
            step, batches = _stepper(run, stage, model), _batches(run, stage, model, world, sizes.targets)
            for batch in islice(batches, 5):
                step(batch)
        torch.manual_seed(0)  # what a model draws when it is built, and does not store
        other = build(run, _item_data(world), stage)
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


def _small_world(sizes: Sizes) -> World:
    world = generated("made", sizes.items, sizes.items, 7.0)
    hours = np.random.default_rng(0).integers(0, 200, len(world.sequences.items))
    times = 1_500_000_000 + 3600 * np.cumsum(hours)  # one user after the other, so that each one's ascend
    return replace(world, sequences=replace(world.sequences, timestamps=times))


def _trainings(sizes: Sizes) -> Iterator[tuple[str, Run, str]]:
    """Every stage of every model, and a product of experts."""
    sections: dict[str, Found] = {name: {"model": {"name": name, **sizes.width}} for name in MODELS}
    for name in FLOORS:
        sections[name] = {"model": {"name": name}}
    floor = {"name": "content-ease", "ridge": 100, "weight": 0.5}
    experts = {"floor": floor, "weight": 0.3, "neighbourhood": 0.3, "repeats": "counted"}
    sections["sasrec with experts"] = {"model": sections["sasrec"]["model"], "experts": experts}
    for label, section in sections.items():
        run = resolve({}, "described", section)
        for stage in run.stages:
            yield f"{label} {stage}", run, stage


def _item_data(world: World) -> ItemData:
    """A copy, because a module takes its buffers along to its device."""
    return ItemData(world.item_data.item_count, world.item_data.tensors())


def _built(run: Run, world: World, stage: str, device: torch.device) -> Recommender:
    torch.manual_seed(0)
    model = build(run, _item_data(world), stage).to(device)
    model.observe(world.sequences.training())
    return model


def _batches(run: Run, stage: str, model: Recommender, world: World, size: int) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    samples, generator = model.samples(world.sequences, run.train.stage(stage)), torch.Generator().manual_seed(0)
    while True:
        yield from samples.epoch(size, generator)


def _stepper(run: Run, stage: str, model: Recommender) -> Callable[[Batch], None]:
    """A training step as the loop makes it, with the average of the weights."""
    config = run.train.stage(stage)
    adam, average = build_optimizer(model, config), ExponentialMovingAverage(model, config.averaging)
    model.before_epoch()

    def step(batch: Batch) -> None:
        train_step(model, batch, adam, config, 1.0)
        average.update()

    return step


def _scores(model: Recommender, world: World) -> Any:
    """Scores of all users and items, [U, I]."""
    found = np.empty((len(world.sequences.users), world.item_data.item_count))
    for chosen, scores, _ in score_users(model, world.sequences, "test"):
        found[chosen] = scores["kept"].double().cpu().numpy()
    return found


def waits(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """How often the processor waits for the device in a training step of every model; without a GPU, null."""
    world, count = _small_world(sizes), 5
    found: Found = {"steps": count, "models": {}}
    for label, run, stage in _trainings(sizes):
        model = _built(run, world, stage, device)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            continue
        step, batches = _stepper(run, stage, model), _batches(run, stage, model, world, sizes.targets)
        for batch in islice(batches, 2):  # what is made once
            step(batch)
        row: Found = {"per_step": None, "calls": None, "to_host": None, "places": None}
        if device.type == "cuda":
            measured = list(islice(batches, count))
            row |= _profiled(step, measured) | {"places": _places(step, measured)}
        found["models"][label] = row
    if device.type != "cuda":
        found["null"] = "there is no GPU to wait for"
    return found


def _profiled(step: Callable[[Batch], None], batches: list[Batch]) -> Found:
    """Calls of CUDA that wait, and copies to the host, within the steps."""
    from torch.profiler import ProfilerActivity, profile, record_function

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for batch in batches:
            with record_function(STEP):
                step(batch)
        torch.cuda.synchronize()
    events = list(profiler.events() or ())
    steps = [event.time_range for event in events if event.name == STEP and event.device_type.name == "CPU"]
    if not any(event.name.startswith("cudaLaunchKernel") for event in events):
        return {"null": "the profiler saw no call of CUDA"}
    calls = Counter(
        event.name
        for event in events
        if event.name in WAITS and any(one.start <= event.time_range.start <= one.end for one in steps)
    )
    to_host = sum(event.name.startswith("Memcpy DtoH") for event in events)
    return {"per_step": sum(calls.values()) / len(batches), "calls": dict(calls), "to_host": to_host / len(batches)}


def _places(step: Callable[[Batch], None], batches: list[Batch]) -> dict[str, int]:
    """Where torch says that it waits, and how often: what is in the backward pass is at the line that starts it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for batch in batches:
                step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waiting = [one for one in said if "synchronizing CUDA operation" in str(one.message)]
    return dict(Counter(f"{'/'.join(Path(one.filename).parts[-3:])}:{one.lineno}" for one in waiting))


def training(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Steps of an epoch, one after the other, as share of the peak of dense products of the same type."""
    world = generated("timed", **sizes.world)
    peaks = {precision: _peak(device, dtype, sizes.products) for precision, dtype in DTYPES.items()}
    found: Found = {"peak_flops": peaks, "users": sizes.world["users"], "items": sizes.world["items"], "models": {}}
    end, left = time.monotonic() + 0.8 * seconds, len(TIMED) * len(DTYPES)
    for precision in DTYPES:
        for name, stage in TIMED:
            section = {"name": name, **sizes.width}
            run = resolve({}, "described", {"model": section, "train": {"precision": precision}})
            model, until = _built(run, world, stage, device), time.monotonic() + (end - time.monotonic()) / left
            config, left = run.train.stage(stage), left - 1
            targets = model.samples(world.sequences, config).target_count
            step, batches = _stepper(run, stage, model), _batches(run, stage, model, world, config.batch_size)
            for batch in islice(batches, 3):
                step(batch)
            _finish(device)
            done: list[Batch] = []
            start = time.perf_counter()
            most = min(sizes.steps, -(-targets // config.batch_size))
            while len(done) < most and (not done or time.monotonic() < until):
                done.append(next(batches))
                step(done[-1])
            _finish(device)
            each = (time.perf_counter() - start) / len(done)
            work = sum(sum(training_operations(model, world, batch).values()) for batch in done) / len(done)
            found["models"][f"{name} {stage} {precision}"] = {
                "steps": len(done),
                "seconds_per_step": each,
                "seconds_per_epoch": each * targets / config.batch_size,
                "share_of_peak": work / each / peaks[precision],
            }
    return found


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Until ``work`` is done, after all that was begun before."""
    _finish(device)
    start = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - start


def _peak(device: torch.device, dtype: torch.dtype, sides: tuple[int, ...], repeats: int = 10) -> float:
    """Best rate of square products, floating-point operations per second."""
    rates = []
    for side in sides:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for _ in range(4):  # the first product chooses a kernel
            spent = _seconds(device, lambda a=left, b=right: [a @ b for _ in range(repeats)])  # type: ignore[misc]
            rates.append(2 * side**3 * repeats / spent)
    return max(rates)


def encoding(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Pictures per second from stored JPEG files to a file of features, beside the forward pass alone, in bf16."""
    from benchmarks.encode import bare_forward, extraction, store_inputs
    from decorec.features.clip import build_clip

    threads = torch.get_num_threads()
    torch.manual_seed(0)
    encoder = build_clip(sizes.encoder, None, "bf16", device)
    with tempfile.TemporaryDirectory(prefix="decorec-gpu-") as name:
        inputs = store_inputs(Path(name), [""] * sizes.pictures, sizes.drawn)
        forward = bare_forward(encoder, sizes.pictures, sizes.batch)
        bare_forward(encoder, sizes.batch, sizes.batch)()
        bare = min(_seconds(device, forward) for _ in range(2))
        whole = extraction(encoder, "image", inputs, Path(name), sizes.batch, threads)
        turns = [_seconds(device, whole) for _ in range(2)]
    return {
        "model": sizes.encoder,
        "pictures": sizes.pictures,
        "threads": threads,
        "pictures_per_second": sizes.pictures / min(turns),
        "forward_per_second": sizes.pictures / bare,
        "share_of_forward": bare / min(turns),
    }


def ranking(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """Full ranking of every user's test item by DeCoRec."""
    world = generated("ranked", **sizes.world)
    run = resolve({}, "described", {"model": sizes.width})
    model = _built(run, world, "stage1", device).eval()
    few = world.sequences.of(np.arange(min(2000, len(world.sequences.users))))
    rank_users(model, few, "test")
    spent = _seconds(device, lambda: rank_users(model, world.sequences, "test"))
    users, peak = len(world.sequences.users), _peak(device, torch.float32, sizes.products)
    return {
        "users": users,
        "items": world.item_data.item_count,
        "users_per_second": users / spent,
        "share_of_peak": ranking_operations(world, run.model) / spent / peak,
    }


def clusters(device: torch.device, sizes: Sizes, seconds: float) -> Found:
    """k-means of the workflow, which runs on one thread of the processor, and MISSRec's on the device."""
    random = np.random.default_rng(0)
    x = random.standard_normal((sizes.vectors, 512), dtype=np.float32)
    x += random.standard_normal((sizes.clusters, 512), dtype=np.float32)[np.arange(len(x)) % sizes.clusters]
    there = torch.from_numpy(x).to(device)
    start = there[: sizes.centroids].clone()
    lloyd(there, start, 1)
    steps = 5
    on_device = _seconds(device, lambda: lloyd(there, start, steps)) / (steps + 1)  # and the last assignment
    spent = _seconds(device, lambda: kmeans(x, sizes.clusters, 0))
    return {
        "vectors": list(x.shape),
        "processor": {"clusters": sizes.clusters, "seconds": spent},
        "device": {"clusters": sizes.centroids, "seconds_per_step": on_device},
    }


@dataclass(frozen=True)
class Part:
    """One of the measurements, and the seconds after which it is stopped."""

    measure: Callable[[torch.device, Sizes, float], Found]
    seconds: float


PARTS = {
    part.measure.__name__: part
    for part in (
        Part(environment, 30),
        Part(equality, 70),
        Part(waits, 60),
        Part(training, 100),
        Part(encoding, 90),
        Part(ranking, 50),
        Part(clusters, 70),
    )
}
"""In the order in which they run."""
