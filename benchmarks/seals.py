"""Share of the seals: time to check all files that a job reads and writes, beside the time of the job.

    python -m benchmarks seals RESULTS

RESULTS is a folder of results with its benchmarks, as the workflow leaves it. Prints, for each kind of job, the mean
seconds of the job by the clock, the mean seconds that the digests of its files take, and
their ratio. Run it on the machine that made the results.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from decorec.artifacts import seal

JOBS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "train": ("*/runs/*/seed-*/*/model.safetensors", lambda file: f"{file.parent}.tsv"),
    "evaluate": ("*/runs/*/seed-*/ranks.parquet", lambda file: f"{file.parent}/evaluate.tsv"),
    "split": ("*/sequences.parquet", lambda file: f"{file.parent}/split.tsv"),
    "cooccurrence": ("*/graph/cooccurrence.npz", lambda file: f"{file.parents[1]}/cooccurrence.tsv"),
    "cluster": ("*/interests/*.safetensors", lambda file: f"{file.parents[1]}/cluster-{file.stem}.tsv"),
    "features": ("*/features/text.safetensors", lambda file: f"{file.parents[1]}/features.tsv"),
    "ingest": ("*/interactions.parquet", lambda file: f"{file.parent}/ingest.tsv"),
}
"""Kind of job -> its main output, and the measurement of the job, both from the folder of results on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    results = parser.parse_args().results
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for kind, (pattern, measurement) in JOBS.items():
        for output in sorted(results.glob(pattern)):
            tsv = results / "benchmarks" / measurement(output.relative_to(results))
            with tsv.open(newline="") as handle:
                (row,) = csv.DictReader(handle, delimiter="\t")
            start = time.perf_counter()
            for file in (output, *(results / place for place in seal.sources_of(output))):
                seal.check(file)
            found[kind].append((float(row["s"]), time.perf_counter() - start))
    print(f"{'job':<14}{'number':>8}{'seconds':>10}{'digests':>10}{'share':>8}")
    for kind, pairs in found.items():
        seconds, digests = (fmean(values) for values in zip(*pairs, strict=True))
        print(f"{kind:<14}{len(pairs):>8}{seconds:>10.2f}{digests:>10.4f}{digests / seconds:>8.2%}")


if __name__ == "__main__":
    main()
