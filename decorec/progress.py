"""Progress of long steps: a bar on a terminal, a plain line every few seconds in a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["progress", "track"]

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "it") -> Iterator[Callable[[int], None]]:
    """Yield ``advance(count)``. ``total`` is in units of ``unit``; unit "B" scales to kB, MB, ..."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=label, unit=unit, unit_scale=unit == "B", dynamic_ncols=True) as bar:

            def draw(count: int = 1) -> None:
                bar.update(count)

            yield draw
        return
    log = logging.getLogger("decorec")
    start = last = time.monotonic()
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = done / (now - start)
        if total:
            remaining = f"{(total - done) / rate:.0f} s left" if rate else "rate unknown"
            log.info(
                "%s: %d of %d %s (%.0f %%), %.1f/s, %s",
                label,
                done,
                total,
                unit,
                100 * done / total,
                rate,
                remaining,
            )
        else:
            log.info("%s: %d %s, %.1f/s", label, done, unit, rate)

    yield advance


def track(iterable: Iterable[T], label: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Iterate with progress; ``total`` defaults to ``len(iterable)`` if it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with progress(label, total, unit) as advance:
        for element in iterable:
            yield element
            advance(1)
