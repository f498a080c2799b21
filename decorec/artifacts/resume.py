"""Keeps the state of a training on disk, so that a step that was stopped continues instead of starting over.

One file per training, of arrays and JSON: written now and then and when the process is asked to end, used by the same
training only, and removed when the step is done.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import numpy.typing as npt

from decorec.artifacts import step_log
from decorec.artifacts.files import read_arrays, write_arrays
from decorec.artifacts.seal import provenance
from decorec.artifacts.step_log import Used
from decorec.errors import DecorecError

__all__ = ["Keeper", "Resumable"]

SECONDS = 30.0
"""Least time between two saves."""
SHARE = 0.01
"""Largest share of the time that is spent on saving, for states so large that ``SECONDS`` are not enough."""
ASKING = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask the process to end: from a scheduler before its time limit, and from Ctrl-C."""

log = logging.getLogger("decorec")


class Resumable(Protocol):
    """Everything that changes in a training, taken before one of its batches."""

    epoch: int
    batch: int
    """Batches of this epoch that are done."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays."""

    def facts(self) -> dict[str, Any]:
        """The rest, as values for JSON."""

    def restore(self, arrays: dict[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Become the state with these arrays and facts."""


class Keeper:
    """The kept state of one training.

    Within ``with keeper:`` a SIGTERM or Ctrl-C does not end the process at once: the current batch is finished, the
    state saved, and the process left with the status of the signal (143, 130). A second signal ends it at once.
    """

    def __init__(self, path: Path, key: str, rows: list[Any] | None = None) -> None:
        """``key``: of the training; ``rows``: what the caller collects during the training, kept with the state."""
        self.path, self.key, self.rows = path, key, [] if rows is None else rows
        self.saves, self.seconds = 0, 0.0
        """Number of saves, and the time that they took together."""
        self._due = time.monotonic() + SECONDS
        self._signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        heard = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._ask) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def restore(self, now: Resumable) -> None:
        """Put the kept state, if there is one of this very training, in the place of ``now``.

        A damaged file is set aside; the state of another training stays until this one is saved or done.
        """
        if not self.path.is_file():
            return
        try:
            with provenance():  # of its own: the key says whether it was made from other files
                arrays, metadata = read_arrays(self.path)
            if "key" not in metadata:
                raise DecorecError(f"{self.path}: expected the state of a training, found another file")
        except DecorecError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            log.info("%s; it is now %s, and the training starts over", error, aside.name)
            return
        if metadata["key"] != self.key:
            log.info("%s: of other values, inputs or code: it is not used, and the training starts over", self.path)
            return
        facts = json.loads(metadata["facts"])
        now.restore(arrays, facts)
        self.rows[:] = map(tuple, facts["rows"])
        step_log.current().continues(Used(**facts["used"]))
        log.info("%s: the training continues in epoch %d after %d batches", self.path, now.epoch, now.batch)

    def offer(self, now: Resumable) -> None:
        """Save the state if it is time to, or if the process was asked to end.

        Raises:
            SystemExit: the process was asked to end, and the state is saved.
        """
        asked = self._wish()
        if asked is None:
            return
        start = time.monotonic()
        self._write(now)
        took = time.monotonic() - start
        self._due = time.monotonic() + max(SECONDS, took / SHARE)
        self.saves, self.seconds = self.saves + 1, self.seconds + took
        if asked:
            log.info("%s: stopped by %s; the same command continues here", self.path, signal.Signals(asked).name)
            raise SystemExit(128 + asked)

    def _wish(self) -> int | None:
        """The signal that asked the process to end; 0: it is time to save; None: neither."""
        if self._signal is not None:
            return self._signal
        return None if time.monotonic() < self._due else 0

    def _write(self, now: Resumable) -> None:
        arrays = now.arrays()
        facts = {**now.facts(), "rows": self.rows, "used": asdict(self._used())}
        write_arrays(self.path, arrays, {"key": self.key, "facts": json.dumps(facts)})

    def _used(self) -> Used:
        """What the step has taken until now, with its earlier starts."""
        return step_log.current().used()

    def remove(self) -> None:
        """Forget the state: the outputs of the step are written."""
        self.path.unlink(missing_ok=True)
