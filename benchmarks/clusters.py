"""Clusters: time and inertia beside scikit-learn's default on real features, and memory on many items.

The real features are those of a data set in atomic files. scikit-learn's default is KMeans(k) on all processors; ours
runs on one thread, since results must not depend on their number, and the workflow clusters both modalities side by
side. The large case is drawn from a mixture of normal distributions and is clustered in a process of its own.

    python -m benchmarks clusters [--features data/scientific/Scientific] [--items 200000] [--k 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import mean

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.cluster import KMeans

from benchmarks._cost import Cost, cost_of_call
from decorec.prepare.clustering import kmeans

__all__ = ["main"]

Floats = npt.NDArray[np.float32]
WIDTH = 512
LARGE = """
import resource, sys
import numpy as np
from decorec.prepare.clustering import kmeans
items, k = int(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(0)
centres = random.normal(size=(k, 512)).astype(np.float32)
x = np.empty((items, 512), dtype=np.float32)
for start in range(0, items, 1000):
    part = x[start : start + 1000]
    part[:] = centres[random.integers(0, k, len(part))] + random.standard_normal(part.shape, dtype=np.float32)
centroids, assignment = kmeans(x, k, 0)
usage = resource.getrusage(resource.RUSAGE_SELF)
sizes = np.bincount(assignment, minlength=k)
print(f"{items:,} x 512 into {k:,}: {sizes.min()} to {sizes.max()} items each,",
      f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time,",
      f"peak {usage.ru_maxrss * 1024 / 1e9:.2f} GB with features of {x.nbytes / 1e9:.2f} GB")
"""


def main() -> None:
    """Cluster and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks clusters")
    parser.add_argument("--features", default="data/scientific/Scientific", help="files without .feat1CLS, .feat3CLS")
    parser.add_argument("--items", type=int, default=200_000, help="items of the large case; 0 leaves it out")
    parser.add_argument("--k", type=int, default=2_000, help="clusters of the large case")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
    both = [
        np.fromfile(f"{options.features}.{kind}", np.float32).reshape(-1, WIDTH) for kind in ("feat1CLS", "feat3CLS")
    ]
    _compare(both, options.rounds)
    if options.items:
        subprocess.run([sys.executable, "-c", LARGE, str(options.items), str(options.k)], check=True)


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
