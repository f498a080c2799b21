"""Progress of a crawl, kept even after kill -9: one line per finished address, appended when it finishes."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from decorec.acquire.crawl.image_normalisation import RECIPE
from decorec.acquire.crawl.outcome import Outcome
from decorec.config.acquire import CrawlConfig
from decorec.errors import DecorecError

__all__ = ["Journal"]

LIMITS = frozenset({"bomb", "opted-out", "private-address", "robots", "too-large", "too-many-redirects"})
"""Failures that depend on the configuration; the address is tried again when it changes."""

VERDICT = 2
"""Number of the rule by which a picture is called unreadable. Lines of an older rule also blame a picture for processes
that were killed by something else, so it is tried again."""

FIELDS = tuple(Outcome.__slots__)
LIMITING = ("max_bytes", "max_pixels", "max_redirects", "private_hosts", "respect_robots", "user_agent")


class Journal:
    """Outcomes by address in a JSON-lines file.

    A line holds the address, the outcome and the settings that the outcome depends on. Each line is appended with one
    write. An incomplete last line (after a kill or with a full disk) is skipped when the file is read. Transient
    failures leave no line: the next run tries them again.
    """

    def __init__(self, path: Path, config: CrawlConfig) -> None:
        """Open ``path`` for this process alone.

        Raises:
            DecorecError: another process has it open.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._side = config.side
        self._limits = config.model_dump_json(include=set(LIMITING))
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise DecorecError(
                f"{path}: expected to be the only crawl of this data set, found another one running; wait until it ends"
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def read(self, wanted: Iterable[str]) -> dict[str, Outcome]:
        """Outcomes of ``wanted`` addresses that are still valid, the latest of each address."""
        keys = set(wanted)
        outcomes: dict[str, Outcome] = {}
        torn = False
        with self._path.open("rb") as lines:
            for line in lines:
                torn = not line.endswith(b"\n")
                entry = _parse(line)
                if entry is None or entry["address"] not in keys:
                    continue
                if self._holds(entry):
                    outcomes[entry["address"]] = Outcome(**entry["outcome"])
                else:
                    outcomes.pop(entry["address"], None)
        if torn:
            os.write(self._file, b"\n")
        return outcomes

    def append(self, address: str, outcome: Outcome) -> None:
        """Record that ``address`` ended in ``outcome``."""
        if outcome.status == "transient":
            return
        entry = {
            "address": address,
            "side": self._side,
            "recipe": RECIPE,
            "verdict": VERDICT,
            "limits": self._limits,
            "outcome": {name: getattr(outcome, name) for name in FIELDS},
        }
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, line)

    def _holds(self, entry: dict[str, Any]) -> bool:
        outcome = entry["outcome"]
        if outcome["status"] == "ok":
            return bool(entry["side"] == self._side and entry.get("recipe", 1) == RECIPE)
        if outcome["error"] == "unreadable":
            return bool(entry.get("verdict", 1) == VERDICT)
        return outcome["error"] not in LIMITS or bool(entry["limits"] == self._limits)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    # Lines of another version of this file count as absent.
    return entry if isinstance(entry, dict) and tuple(entry.get("outcome", ())) == FIELDS else None
