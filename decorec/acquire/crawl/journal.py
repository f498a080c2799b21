"""Progress of a crawl, kept even after kill -9: one line per finished address, appended when it finishes."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
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

log = logging.getLogger("decorec")
FIELDS = tuple(Outcome.__slots__)
NUMBERS = ("http_status", "attempts", "width", "height", "bytes")
TEXTS = ("error", "sha256")
LIMITING = ("max_bytes", "max_pixels", "max_redirects", "private_hosts", "respect_robots", "user_agent")


class Journal:
    """Outcomes by address in a JSON-lines file.

    A line holds the address, the outcome and the settings that the outcome depends on. Each line is appended with one
    write. A damaged line, such as an incomplete last one after a kill or with a full disk, counts as absent: its
    address is fetched again, and nothing else is lost. Transient failures leave no line: the next run tries them again.
    """

    def __init__(self, path: Path, config: CrawlConfig) -> None:
        """Open ``path`` for this process alone.

        Raises:
            DecorecError: another process has it open, or it cannot be opened.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._side = config.side
        self._limits = config.model_dump_json(include=set(LIMITING))
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except (IsADirectoryError, PermissionError) as error:
            raise DecorecError(
                f"{path}: expected the journal of the crawl, a file to read and write, found: {error.strerror}; move "
                "it away, and the crawl begins a new one and fetches everything again"
            ) from error
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
        damaged = 0
        with self._path.open("rb") as lines:
            for line in lines:
                torn = not line.endswith(b"\n")
                entry = _parse(line)
                damaged += entry is None and bool(line.strip())
                if entry is None or entry["address"] not in keys:
                    continue
                if self._holds(entry):
                    outcomes[entry["address"]] = Outcome(**entry["outcome"])
                else:
                    outcomes.pop(entry["address"], None)
        if damaged:
            log.info("%s: %d lines are damaged or of an older version and count as absent", self._path, damaged)
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
            try:
                os.write(self._file, line)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _holds(self, entry: dict[str, Any]) -> bool:
        outcome = entry["outcome"]
        if outcome["status"] == "ok":
            return bool(entry["side"] == self._side and entry.get("recipe", 1) == RECIPE)
        if outcome["error"] == "unreadable":
            return bool(entry.get("verdict", 1) == VERDICT)
        return outcome["error"] not in LIMITS or bool(entry["limits"] == self._limits)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if it is damaged or of another version of this file."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("address"), str) or "side" not in entry:
        return None
    outcome = entry.get("outcome")
    if "limits" not in entry or not isinstance(outcome, dict) or tuple(outcome) != FIELDS:
        return None
    right = (
        outcome["status"] in ("ok", "permanent")
        and all(type(outcome[name]) in (int, type(None)) for name in NUMBERS)
        and all(type(outcome[name]) in (str, type(None)) for name in TEXTS)
        and (outcome["status"] != "ok" or re.fullmatch("[0-9a-f]{64}", outcome["sha256"] or ""))
    )
    return entry if right else None
