"""Clusters: time and inertia beside scikit-learn's default on real features, two levels, and memory on many items.

The real features are those of a data set in atomic files. scikit-learn's default is KMeans(k) on all processors; ours
runs on one thread, since results must not depend on their number, and the workflow clusters both modalities side by
side. The other cases are drawn from a mixture of mixtures of normal distributions. Of the smaller one all pairs, two
levels and scikit-learn's MiniBatchKMeans are compared; the large one is clustered in a process of its own.

    python -m benchmarks clusters [--features data/scientific/Scientific] [--items 200000] [--k 2000] [--rounds 3]
        [--form kmeans|two_levels] [--compared 20000] [--compared-k 1000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import mean

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from benchmarks._cost import Cost, cost_of_call
from decorec.prepare.clustering import kmeans, two_levels

__all__ = ["drawn", "main"]

Floats = npt.NDArray[np.float32]
WIDTH = 512
LARGE = """
import os, sys, time
import numpy as np
from benchmarks.clusters import drawn
from decorec.artifacts.step_log import largest_memory
from decorec.prepare import clustering
items, k = int(sys.argv[1]), int(sys.argv[2])
x = drawn(items, k)
centroids, assignment = getattr(clustering, sys.argv[3])(x, k, 0)
sizes = np.bincount(assignment, minlength=k)
print(f"{sys.argv[3]}, {items:,} x 512 into {k:,}: {sizes.min()} to {sizes.max()} items each,",
      f"{time.process_time():.0f} s of processor time,",
      f"peak {largest_memory(os.getpid()) * 1024 / 1e9:.2f} GB with features of {x.nbytes / 1e9:.2f} GB")
"""


def main() -> None:
    """Cluster and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks clusters")
    parser.add_argument("--features", default="data/scientific/Scientific", help="files without .feat1CLS, .feat3CLS")
    parser.add_argument("--items", type=int, default=200_000, help="items of the large case; 0 leaves it out")
    parser.add_argument("--k", type=int, default=2_000, help="clusters of the large case")
    parser.add_argument("--rounds", type=int, default=3, help="of the real features; 0 leaves them out")
    parser.add_argument("--form", choices=("kmeans", "two_levels"), default="kmeans", help="of the large case")
    parser.add_argument("--compared", type=int, default=20_000, help="items of the smaller case; 0 leaves it out")
    parser.add_argument("--compared-k", type=int, default=1_000, help="clusters of the smaller case")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
    if options.rounds:
        kinds = ("feat1CLS", "feat3CLS")
        both = [np.fromfile(f"{options.features}.{kind}", np.float32).reshape(-1, WIDTH) for kind in kinds]
        _compare(both, options.rounds)
        for x, kind in zip(both, kinds, strict=True):
            _compare_forms(kind, x, round(0.1 * len(x)))
    if options.compared:
        _compare_forms("drawn", drawn(options.compared, options.compared_k), options.compared_k)
    if options.items:
        arguments = [str(options.items), str(options.k), options.form]
        subprocess.run([sys.executable, "-c", LARGE, *arguments], check=True)


def drawn(items: int, k: int) -> Floats:
    """[items, 512] rows around k centres, which lie around sqrt(k) others."""
    random = np.random.default_rng(0)
    outer = random.normal(size=(round(k**0.5), WIDTH))
    centres = (outer[random.integers(0, len(outer), k)] + random.normal(size=(k, WIDTH))).astype(np.float32)
    x = np.empty((items, WIDTH), dtype=np.float32)
    for start in range(0, items, 1000):
        part = x[start : start + 1000]
        part[:] = centres[random.integers(0, k, len(part))] + random.standard_normal(part.shape, dtype=np.float32)
    return x


def _compare_forms(label: str, x: Floats, k: int) -> None:
    """Inertia and time of all pairs, of two levels and of mini-batches."""
    for name, form in (("all pairs", kmeans), ("two levels", two_levels), ("mini-batches", _mini_batches)):
        start = time.process_time()
        centroids, assignment = form(x, k, 0)
        spent = time.process_time() - start
        inertia = float(np.square(x - centroids[assignment], dtype=np.float64).sum())
        print(
            f"{label}, {len(x):,} into {k:,}, {name}: {spent:.1f} s of the processor, inertia {inertia:.1f}", flush=True
        )


def _mini_batches(x: Floats, k: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    with threadpool_limits(limits=1):
        model = MiniBatchKMeans(k, n_init=1, random_state=seed).fit(x)
    return model.cluster_centers_, model.labels_


def _compare(both: list[Floats], rounds: int) -> None:
    """Both modalities, one seed a round: one after the other with scikit-learn, side by side as the workflow does."""
    k = round(0.1 * len(both[0]))
    theirs = [_cost(partial(_theirs, k=k, seed=seed), both, 1) for seed in range(rounds)]
    ours = [_cost(partial(_ours, k=k, seed=seed), both, 2) for seed in range(rounds)]
    for label, results in (("scikit-learn's default", theirs), ("decorec", ours)):
        least = min((cost for cost, _ in results), key=lambda cost: cost.clock)
        print(least.line(label), f"  inertia {mean(inertia for _, inertia in results):.1f}")


def _cost(inertia: Callable[[Floats], float], both: list[Floats], workers: int) -> tuple[Cost, float]:
    """What clustering of both modalities costs, and their sum of inertias."""
    found: list[float] = []
    with ThreadPoolExecutor(workers) as pool:
        cost = cost_of_call(lambda: found.extend(pool.map(inertia, both)))
    return cost, sum(found)


def _theirs(x: Floats, k: int, seed: int) -> float:
    """Inertia of scikit-learn's clusters."""
    return float(KMeans(k, random_state=seed).fit(x).inertia_)


def _ours(x: Floats, k: int, seed: int) -> float:
    """Sum of squared distances to the centroids."""
    centroids, assignment = kmeans(x, k, seed)
    return float(np.square(x - centroids[assignment], dtype=np.float64).sum())
