"""Progress of long steps: a bar on a terminal, a plain line every few seconds in a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["progress", "track"]

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(
    label: str, total: int | None = None, unit: str = "it", left: str = "left"
) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(count)``. ``total`` is in units of ``unit``; unit "B" scales to kB, MB, ...

    ``left``: the word behind the time that is left, such as "left at most" for work that may end early.
    """
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
        share = f" of {total} {unit} ({done / total:.0%})" if total else f" {unit}"
        remaining = f", {_time((now - start) * (total - done) / done)} {left}" if total and done else ""
        log.info("%s: %d%s, %s%s", label, done, share, _speed(done, now - start, unit), remaining)

    yield advance


def _speed(done: int, seconds: float, unit: str) -> str:
    """Units a second, or seconds a unit where one takes longer."""
    if done >= seconds:
        return f"{done / seconds:.1f}/s"
    return f"{seconds / done:.1f} s per {unit.removesuffix('s')}" if done else "none yet"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def track(iterable: Collection[T], label: str, unit: str = "it", left: str = "left") -> Iterator[T]:
    """Iterate with progress; ``left`` as for ``progress``."""
    with progress(label, len(iterable), unit, left) as advance:
        for element in iterable:
            yield element
            advance(1)
