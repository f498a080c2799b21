"""What is in a user's own files, as short texts. The files are read again only when they have changed.

No step makes these files, and their times say nothing: a copy has new ones, and a file that is moved into the place of
another may be older. So their bytes are read, once: their text is remembered with their sizes, times and inodes, in one
file of the cache. Its first line is a digest of the rest; a damaged file counts as absent. Of two processes that write
it at once, one may lose what it has added, and reads it again the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from decorec.errors import DecorecError
from decorec.progress import progress

__all__ = ["Contents"]

SETTLED = 2_000_000_000
"""Nanoseconds from a change of a file until another one has another time, however coarse the clock of its file system.
A file that has changed since is not remembered."""
THREADS = 8
"""Files that are read at once: those on a network have to be waited for."""
LARGE = 1_000_000_000
"""Bytes from which progress is shown."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class _Group:
    """Files that have one text together: path -> what is known of it without reading it."""

    files: dict[Path, os.stat_result]

    @cached_property
    def key(self) -> str:
        return "\0".join(map(str, self.files))

    @cached_property
    def state(self) -> list[int]:
        """Changes with every change of a file: nothing but the system sets the time of the latest one (st_ctime)."""
        return [
            value
            for facts in self.files.values()
            for value in (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        ]

    @property
    def size(self) -> int:
        return sum(facts.st_size for facts in self.files.values())

    def read(self) -> tuple[str, bool]:
        """The text, and whether it may be remembered."""
        begin = time.time_ns()
        lasting = all(facts.st_ctime_ns < begin - SETTLED for facts in self.files.values())
        digest = hashlib.sha256()
        for path, facts in self.files.items():
            digest.update(os.fsencode(path) + f"\t{facts.st_size}\t\n".encode())
            try:
                with path.open("rb") as handle:
                    while chunk := handle.read(CHUNK):
                        digest.update(chunk)
            except OSError:  # the step that reads it says why it cannot
                lasting = False
        return digest.hexdigest()[:16], lasting


class Contents:
    """Texts of files, with what is remembered of them in a cache folder."""

    def __init__(self, cache: Path) -> None:
        self._memory = cache / "contents.json"
        self._entries: dict[str, Any] | None = None

    def of(self, files: Iterable[str | Path]) -> str:
        """A text that changes with the names and the bytes of ``files``; "" where none of them is there."""
        return self._texts([sorted(map(Path, files))])[0]

    def of_each(self, files: Iterable[Path]) -> list[str]:
        """The same of each file alone."""
        return self._texts([[path] for path in files])

    def _texts(self, named: list[list[Path]]) -> list[str]:
        groups = [_Group({path: facts for path in paths if (facts := _facts(path)) is not None}) for paths in named]
        texts = {group.key: self._remembered(group) if group.files else "" for group in groups}
        unknown = list({group.key: group for group in groups if texts[group.key] is None}.values())
        lasting = {}
        try:
            total = sum(group.size for group in unknown)
            shown = (
                progress("reading new files", total, unit="B") if total >= LARGE else nullcontext(lambda count: None)
            )
            with shown as advance, ThreadPoolExecutor(THREADS) as threads:
                for group, (text, lasts) in zip(unknown, threads.map(_Group.read, unknown), strict=True):
                    texts[group.key] = text
                    if lasts:
                        lasting[group.key] = [text, *group.state]
                    advance(group.size)
        finally:  # what was read before an interruption need not be read again
            if lasting:
                self._remember(lasting)
        return [texts[group.key] or "" for group in groups]

    def _remembered(self, group: _Group) -> str | None:
        """The text of files that have not changed."""
        if self._entries is None:
            self._entries = self._read()
        entry = self._entries.get(group.key)
        return str(entry[0]) if isinstance(entry, list) and entry[1:] == group.state else None

    def _remember(self, entries: dict[str, Any]) -> None:
        """Add entries to what other processes have written meanwhile, without those of files that are gone."""
        from decorec.artifacts.files import atomic_path

        others = self._read().items()
        self._entries = {key: entry for key, entry in others if all(map(os.path.lexists, key.split("\0")))} | entries
        body = json.dumps(self._entries, separators=(",", ":")).encode()
        with (
            suppress(DecorecError, OSError),
            atomic_path(self._memory) as temporary,
        ):  # such as in a folder to read only
            temporary.write_bytes(_digest(body) + b"\n" + body)

    def _read(self) -> dict[str, Any]:
        """What the file holds; nothing if it is damaged."""
        with suppress(OSError, ValueError):
            digest, body = self._memory.read_bytes().split(b"\n", 1)
            if digest == _digest(body):
                found: dict[str, Any] = json.loads(body)
                return found
        return {}


def _facts(path: Path) -> os.stat_result | None:
    """What is known of a file without reading it; None where there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
