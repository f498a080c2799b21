"""What a GPU computes and how fast, in eight minutes at most: one JSON, of the installed packages alone.

Equality of scores and ranks with the processor's for every model, how often a training step waits for the GPU, training
and full ranking at the size of Office, encoding of pictures, and k-means, on random data and random weights: nothing is
read or fetched. Every part is a process with a budget of its own. One that fails, or takes longer, is an error in the
JSON and does not stop the others; the exit status is then 1.

    python -m benchmarks gpu [--out gpu.json] [--parts equality training ...] [--device cuda]
    python -m benchmarks gpu --sizes small --device cpu     without a GPU: that all of it runs
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks._gpu import PARTS, SIZES, WrongResultError
from decorec import gpus

__all__ = ["main"]


def main() -> None:
    """Run the parts and print what they found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu")
    parser.add_argument("--out", type=Path, help="also write the JSON here, after every part")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--sizes", default="full", choices=SIZES)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    report: dict[str, Any] = {"sizes": options.sizes}
    for name in options.parts:
        report[name] = _measured(name, options)
        print(f"{name}: {report[name]['seconds']:.1f} s {report[name].get('error', '')}", file=sys.stderr, flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    if any("error" in report[name] for name in options.parts):
        sys.exit(1)


def _measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one part found, or its error. A process that has used CUDA cannot be forked; this one never does."""
    budget, start = PARTS[name].seconds, time.monotonic()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(name, options, theirs))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv() if ours.poll(budget) else {"error": f"not done within {budget:g} s"}
    except EOFError:
        process.join()
        found = {"error": f"its process ended with status {process.exitcode}"}
    process.kill()
    process.join()
    return {**found, "seconds": round(time.monotonic() - start, 1)}


def _measure(name: str, options: argparse.Namespace, answer: Connection) -> None:
    os.dup2(2, 1)  # the standard output is for the JSON alone
    torch.set_num_threads(options.threads)
    part = PARTS[name]
    try:
        found = part.measure(gpus.device(options.device), SIZES[options.sizes], part.seconds)
    except WrongResultError as error:
        found = {**error.found, "error": str(error)}
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc().splitlines()[-12:]}
    answer.send(found)


if __name__ == "__main__":
    main()
