"""The device that a step computes on; the GPUs of a machine are shared out among the jobs of one call of Snakemake.

Snakemake adds up the memory that running jobs need on GPUs (resource ``gpu_mb``), or counts the jobs (``gpu``), but
does not say which job has which GPU: all would take the first. So the call offers its cards, and a job notes in their
folder what it takes of which card, in a file that it holds locked for as long as it lives. The system releases the lock
however the job ends, also when it is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from decorec.errors import DecorecError

if TYPE_CHECKING:
    import torch

__all__ = ["OFFERED", "VISIBLE", "Card", "device", "found", "offer", "promise", "room", "take"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of CUDA: the GPUs that a process may use, by number or by UUID."""
OFFERED = "DECOREC_GPUS"
"""Environment variable of jobs: JSON of an ``_Offer``."""
POLL = 0.2
"""Seconds between two looks at what other jobs hold."""
log = logging.getLogger("decorec")
_held: list[IO[str]] = []
"""The lock of this process; the system releases it when the file is closed, at the latest when the process ends."""
_promised = 0
"""MB that this job may take, on all its cards together; 0: the whole of each."""


@dataclass(frozen=True)
class Card:
    """A GPU, or a part of a divided one (MIG)."""

    name: str
    """As CUDA_VISIBLE_DEVICES names it."""
    memory: int | None = None
    """What jobs may take, in MB; None: unknown."""


@dataclass(frozen=True)
class _Offer:
    """What the jobs of a call share."""

    folder: Path
    cards: tuple[Card, ...]
    most: int | None
    """Largest number of jobs on one card; None: as many as there is memory for."""

    def dump(self) -> str:
        """As one text; ``read`` reads it."""
        return json.dumps([str(self.folder), [[card.name, card.memory] for card in self.cards], self.most])

    @classmethod
    def read(cls, text: str) -> _Offer:
        folder, cards, most = json.loads(text)
        return cls(Path(folder), tuple(Card(*card) for card in cards), most)


@dataclass(frozen=True)
class _Claim:
    """What a job holds, or waits for; those with smaller numbers go first."""

    number: int
    cards: list[str]
    """Names of its cards, one for each of its processes."""
    memory: int
    """MB on each of them."""


def found() -> list[Card]:
    """The GPUs that a process started here could use; asks nvidia-smi.

    A GPU that is divided (MIG) counts as its parts, of which CUDA gives a process no more than one.
    """
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return _listed()
    names = [name.strip() for name in visible.split(",") if name.strip()]
    there = _listed() if names else []
    # CUDA numbers GPUs otherwise than nvidia-smi, unless it is told not to: a number may be that of the smallest.
    smallest = room(there, len(there))
    return [Card(name, next((card.memory for card in there if card.name.startswith(name)), smallest)) for name in names]


def _listed() -> list[Card]:
    """The GPUs that nvidia-smi lists.

    It tells their memory in MiB. As many MB are to be had: a twentieth less, which is left to the driver.
    """
    sizes = _told("--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits")
    memory = dict(re.findall(r"^(\S+), (\d+)$", sizes, re.MULTILINE))
    gpus: list[list[Card]] = []
    for line in _told("-L").splitlines():
        if uuid := re.search(r"\(UUID: (\S+)\)", line):
            part = re.search(r"MIG \S+\.(\d+)gb", line)
            size = 1000 * int(part[1]) if part else int(memory.get(uuid[1], 0))
            if line.startswith("GPU "):
                gpus.append([])
            gpus[-1].append(Card(uuid[1], size or None))
    return [card for whole, *parts in gpus for card in parts or [whole]]


def _told(*arguments: str) -> str:
    """What nvidia-smi prints; "" if it is not there, or fails."""
    try:
        asked = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""


def room(cards: Sequence[Card], count: int = 1) -> int | None:
    """The most MB that a job can have on each of ``count`` cards; None if the memory of one is unknown."""
    sizes = [card.memory for card in cards if card.memory is not None]
    if not sizes or len(sizes) < len(cards):
        return None
    return sorted(sizes, reverse=True)[min(count, len(sizes)) - 1]


def offer(folder: Path, cards: Sequence[Card], jobs: int | None = None, most: int = 1) -> dict[str, int]:
    """Let the jobs that inherit this environment share the GPUs.

    Args:
        folder: for what they note.
        cards: the GPUs.
        jobs: on GPUs at a time; by default as many as there is memory for, or as GPUs if the memory of one is unknown.
        most: number of GPUs that one job needs, of those that need the most.

    Returns:
        Limits of Snakemake's resources ``gpu`` (processes on GPUs) and ``gpu_mb``, so that it starts no more jobs.

    Raises:
        DecorecError: a job needs more GPUs than there are, and would wait for ever.
    """
    os.environ.pop(OFFERED, None)
    if not cards:
        return {}
    known = room(cards) is not None
    if jobs is None and not known:
        jobs = len(cards)
    _expect(cards, most)
    folder.mkdir(parents=True, exist_ok=True)
    each = None if jobs is None else max(1, -(-jobs // len(cards)))
    os.environ[OFFERED] = _Offer(folder.absolute(), tuple(cards), each).dump()
    limits = {} if jobs is None else {"gpu": jobs}
    return limits | ({"gpu_mb": sum(card.memory or 0 for card in cards)} if known else {})


def promise(memory: int) -> None:
    """Say what Snakemake has counted for this job (``gpu_mb``), before it takes GPUs."""
    global _promised
    _promised = memory


def take(count: int = 1) -> None:
    """Hold GPUs until this process ends, and see them alone; call it before CUDA is asked for anything.

    Does nothing in a process to which none were offered. Of the cards with enough memory left, those with the fewest
    jobs are taken. If there are none, as while a job of a killed call still runs, the job waits for one, and those that
    come later wait behind it: so none waits for ever.

    Args:
        count: number of GPUs.

    Raises:
        DecorecError: there are fewer GPUs.
    """
    text = os.environ.pop(OFFERED, "")  # processes that this one starts share its GPU
    if not text:
        return
    offered = _Offer.read(text)
    _expect(offered.cards, count)
    with _alone(offered.folder):
        claim = _claim(offered, count, _living(offered.folder))
        file = _path(offered.folder, claim.number).open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump([claim.cards, claim.memory], file)
        file.flush()
        _held.append(file)
        atexit.register(file.close)  # a fork tells its job that it has ended before it is gone
    names, waiting = ", ".join(claim.cards), False
    while not _has_its_turn(offered, claim):
        if not waiting:
            log.info("waiting for GPU %s: other jobs hold too much of it, as noted in %s", names, offered.folder)
        waiting = True
        time.sleep(POLL)
    os.environ[VISIBLE] = ",".join(claim.cards)
    share = f", with {claim.memory:,} MB of its memory" if claim.memory else ""
    log.info("computes on GPU %s%s", names, share)


def _expect(cards: Sequence[Card], count: int) -> None:
    there = len(cards)
    if there < count:
        raise DecorecError(
            f"train.devices: expected no more than the {there} GPU{'s' * (there > 1)} that jobs share, found {count}; "
            "lower it, or train on processors (CUDA_VISIBLE_DEVICES=)"
        )


def _claim(offered: _Offer, count: int, before: Sequence[_Claim]) -> _Claim:
    """The best cards for a job, with what is ``before`` it."""
    largest = room(offered.cards, count) or 0
    memory = min(_promised // count or largest, largest)
    large = [card for card in offered.cards if (card.memory or 0) >= memory]

    def order(card: Card) -> tuple[bool, int, int]:
        jobs, taken = _load(card, before)
        return not _fits(offered, card, memory, before), jobs, taken - (card.memory or 0)

    names = [card.name for card in sorted(large, key=order)[:count]]
    return _Claim(max((other.number for other in before), default=0) + 1, names, memory)


def _load(card: Card, claims: Sequence[_Claim]) -> tuple[int, int]:
    """Number of jobs on a card, and the MB that they hold."""
    there = [claim.memory for claim in claims if card.name in claim.cards]
    return len(there), sum(there)


def _fits(offered: _Offer, card: Card, memory: int, before: Sequence[_Claim]) -> bool:
    jobs, taken = _load(card, before)
    return taken + memory <= (card.memory or 0) and (offered.most is None or jobs < offered.most)


def _has_its_turn(offered: _Offer, claim: _Claim) -> bool:
    """Whether the jobs before it leave enough of its cards."""
    with _alone(offered.folder):
        before = [other for other in _living(offered.folder) if other.number < claim.number]
    return all(_fits(offered, card, claim.memory, before) for card in offered.cards if card.name in claim.cards)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time looks at the claims."""
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.json"


def _living(folder: Path) -> list[_Claim]:
    """What living jobs have claimed; the files of the others are removed."""
    found = []
    for path in folder.glob("*.json"):
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(_Claim(int(path.stem), *json.load(file)))
            else:
                path.unlink()
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
