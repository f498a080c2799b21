"""The device that a step computes on; the GPUs of a machine are shared out among the jobs of one call of Snakemake.

Snakemake counts the jobs that ask for a GPU (resource ``gpu``), but does not say which job has which: all would take
the first. So the call offers slots, each on one GPU, and a job holds the lock of a slot for as long as it lives. The
system releases the lock however the job ends, also when it is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import logging
import os
import re
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from decorec.errors import DecorecError

if TYPE_CHECKING:
    import torch

__all__ = ["OFFERED", "VISIBLE", "device", "found", "offer", "take"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of CUDA: the GPUs that a process may use, by number or by UUID."""
OFFERED = "DECOREC_GPUS"
"""Environment variable of jobs: FOLDER:GPU,GPU,..., the folder of the locks and the GPU of each slot."""
POLL = 0.2
"""Seconds between two looks for a slot."""
log = logging.getLogger("decorec")
_held: list[IO[bytes]] = []
"""The locks of this process; the system releases them when the files are closed, at the latest when it ends."""


def found() -> list[str]:
    """The GPUs that a process started here could use, as CUDA_VISIBLE_DEVICES names them; asks nvidia-smi.

    A GPU that is divided (MIG) counts as its parts, of which CUDA gives a process no more than one.
    """
    if (visible := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus: list[list[str]] = []
    for line in listed.stdout.splitlines() if listed.returncode == 0 else ():
        if uuid := re.search(r"\(UUID: (\S+)\)", line):
            if line.startswith("GPU "):
                gpus.append([])
            gpus[-1].append(uuid[1])
    return [name for whole, *parts in gpus for name in parts or [whole]]


def offer(folder: Path, jobs: int | None = None, most: int = 1) -> int | None:
    """Let the jobs that inherit this environment share the GPUs.

    Args:
        folder: for the locks.
        jobs: on GPUs at a time; by default as many as there are GPUs. With more, some share one.
        most: number of GPUs that one job needs, of those that need the most.

    Returns:
        The number of slots, for Snakemake to start no more jobs; None if there is no GPU.

    Raises:
        DecorecError: a job needs more GPUs than there are, and would wait for ever.
    """
    gpus = found()
    os.environ.pop(OFFERED, None)
    if not gpus:
        return None
    slots = list(itertools.islice(itertools.cycle(gpus), len(gpus) if jobs is None else jobs))
    _expect(slots, most)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[OFFERED] = f"{folder.absolute()}:{','.join(slots)}"
    return len(slots)


def take(count: int = 1) -> None:
    """Hold slots until this process ends, and see their GPUs alone; call it before CUDA is asked for anything.

    Does nothing in a process to which no slots were offered. Waits if too few are free, as while a job of a killed call
    still runs; meanwhile it holds none.

    Args:
        count: number of slots, each on another GPU.

    Raises:
        DecorecError: there are fewer GPUs.
    """
    folder, _, listed = os.environ.pop(OFFERED, "").rpartition(":")  # processes that this one starts share its GPU
    if not folder:
        return
    slots = listed.split(",")
    _expect(slots, count)
    waiting = False
    while not _held:
        free = _free(Path(folder), slots, count)
        if len(free) == count:
            _held.extend(free.values())
            for file in _held:
                atexit.register(file.close)  # a fork tells its job that it has ended before it is gone
            chosen = [slots[slot] for slot in free]
            os.environ[VISIBLE] = ",".join(chosen)
            log.info("computes on GPU %s, in slot %s", ", ".join(chosen), ", ".join(map(str, free)))
            return
        for file in free.values():
            file.close()
        if not waiting:
            log.info("waiting for a GPU: other jobs hold all but %d of %d slots in %s", len(free), len(slots), folder)
        waiting = True
        # Two jobs that need several each take turns: neither finds what the other holds for a moment for ever.
        time.sleep(POLL * (1 + os.getpid() % 16 / 16))


def _expect(slots: list[str], count: int) -> None:
    there = len(set(slots))
    if there < count:
        raise DecorecError(
            f"train.devices: expected no more than the {there} GPU{'s' * (there > 1)} that jobs share, found {count}; "
            "lower it, or train on processors (CUDA_VISIBLE_DEVICES=)"
        )


def _free(folder: Path, slots: list[str], count: int) -> dict[int, IO[bytes]]:
    """Slots, each on another GPU, whose locks this process holds now: at most ``count``."""
    found: dict[int, IO[bytes]] = {}
    for slot, gpu in enumerate(slots):
        if len(found) == count or gpu in [slots[other] for other in found]:
            continue
        file = (folder / str(slot)).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        found[slot] = file
    return found


def device(name: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """The processor, or the GPU of this process; by default the GPU, if torch can use one.

    Raises:
        DecorecError: the name is cuda and there is no CUDA device.
    """
    import torch

    there = name != "cpu" and _has_gpu()
    if name == "cuda" and not there:
        raise DecorecError(
            "features.device: expected a CUDA device, found none that torch can use; set features.device to auto or cpu"
        )
    return torch.device("cuda" if there else "cpu")


@cache
def _has_gpu() -> bool:
    import torch

    take()  # torch reads CUDA_VISIBLE_DEVICES at its first question, and never again
    # By default torch lets convolutions and recurrent layers round float32 to 10 bits; fp32 is to mean fp32.
    torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.is_available()
