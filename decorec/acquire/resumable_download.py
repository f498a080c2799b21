"""Fetches a large gzip file over HTTP: continues after a broken connection or a kill, checks the file, fetches it once.

For each URL (by its sha256, without a user and a password), a cache folder holds: ``.part`` (bytes so far) with
``.part.json`` (what the server said about the file when the download began), later ``.gz`` (complete and verified) with
``.json`` (size and checksum).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

import requests
import urllib3
from pydantic import TypeAdapter

from decorec.acquire.addresses import without_passwords
from decorec.acquire.checksums import Sums, gzip_problem, require_space, sums
from decorec.acquire.http_session import backoff, retry_after, timeouts
from decorec.acquire.http_validators import Remote
from decorec.acquire.shortage import shortage
from decorec.artifacts.files import write_json
from decorec.errors import DecorecError
from decorec.progress import progress

__all__ = ["Stored", "fetch"]

log = logging.getLogger("decorec")
T = TypeVar("T")

CHUNK = 1 << 16
"""Bytes per read; a broken connection loses no more than these."""
PROGRESS = CHUNK
"""New bytes that a connection must bring to count as progress."""
LONGEST_WAIT = 900.0
"""Longest Retry-After, in seconds, that is waited for; after a longer one the step fails with a message."""
PERMANENT = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


class _TransientError(Exception):
    """This connection failed; another one may succeed. ``wait``: seconds that the server asked to wait."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


@dataclass(frozen=True)
class Stored:
    """A complete and checked file in the cache."""

    path: Path
    remote: Remote
    sums: Sums


@dataclass(frozen=True)
class _Facts:
    """What is kept beside a complete file."""

    remote: Remote
    sums: Sums


def _read_facts(path: Path, kind: type[T], url: str) -> T | None:
    """The facts in ``path``; None if there are none, or if they are damaged. Without them the file is fetched again."""
    if not path.exists():
        return None
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except ValueError:
        log.warning("%s: what is kept about the download in %s is damaged; fetching it again", url, path)
        return None


@contextmanager
def _locked(path: Path, url: str) -> Iterator[None]:
    """Hold the lock of one URL, so that two steps never write the same part. A kill releases the lock."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is fetching it; waiting", url)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class _Transfer:
    """The download of one URL into the cache."""

    def __init__(self, url: str, folder: Path, session: requests.Session, timeout: float) -> None:
        self._address, self.session, self.timeout = url, session, timeout
        self.url = without_passwords(url)
        """For messages and facts."""
        stem = folder / hashlib.sha256(self.url.encode()).hexdigest()
        self.part, self.part_facts = stem.with_suffix(".part"), stem.with_suffix(".part.json")
        self.done, self.done_facts = stem.with_suffix(".gz"), stem.with_suffix(".json")
        self.lock = stem.with_suffix(".lock")
        self.pieces = 2 if self.part.exists() else 0
        """Connections that wrote the part; 2 for a part of an earlier run, which may have had several."""

    def _get(self, headers: dict[str, str]) -> requests.Response:
        headers = {"Accept-Encoding": "identity", **headers}
        return self.session.get(self._address, headers=headers, stream=True, timeout=timeouts(self.timeout))

    def offset(self) -> int:
        """Bytes of the part so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Delete the part. The old file is never overwritten, because an output may be a hard link to it."""
        self.part.unlink(missing_ok=True)
        self.part_facts.unlink(missing_ok=True)

    def expected(self) -> Remote | None:
        """The file that the part belongs to; None if that is unknown, and then the part is deleted."""
        remote = _read_facts(self.part_facts, Remote, self.url) if self.part.exists() else None
        if remote is None:
            self.discard()
        return remote

    def complete(self) -> Stored | None:
        """The complete file, if it is in the cache and undamaged."""
        facts = _read_facts(self.done_facts, _Facts, self.url) if self.done.exists() else None
        if facts is None:
            return None
        stored = Stored(self.done, facts.remote, facts.sums)
        if sums(self.done) == stored.sums:
            return stored
        log.warning("%s: the cached copy %s is damaged; fetching it again", self.url, self.done)
        self.done.unlink()
        return None

    def unchanged(self, stored: Stored) -> bool:
        """Ask the server whether its file is still the stored one; without an answer the stored one is used."""
        try:
            with self._get(stored.remote.changed_condition) as response:
                if response.status_code == 200:
                    return Remote.of(self.url, response) == stored.remote
                problem = "" if response.status_code == 304 else f"HTTP {response.status_code}"
        except requests.RequestException as error:
            if shortage(error):
                raise
            problem = without_passwords(str(error))
        if problem:
            log.warning("%s: cannot ask whether it changed (%s); using the cached copy", self.url, problem)
        return True

    def connect(self) -> None:
        """Continue or begin the part with one connection. Returns when it is complete.

        Raises:
            _TransientError: another attempt may succeed; the bytes so far are kept.
            DecorecError: another attempt cannot succeed.
        """
        expected, offset = self.expected(), self.offset()
        headers = {"Range": f"bytes={offset}-", **expected.range_condition} if expected and offset else {}
        try:
            with self._get(headers) as response:
                self._require_body(response)
                if response.status_code == 200:
                    self.discard()
                    expected, offset, self.pieces = Remote.of(self.url, response), 0, 0
                    write_json(self.part_facts, asdict(expected))
                elif not (expected and expected.continued_by(response, offset)):
                    self.discard()
                    raise _TransientError(
                        "the server sent bytes of another file or from another position; starting over"
                    )
                self.pieces += 1
                self._append(response, expected.size, offset)
        except PERMANENT as error:
            raise DecorecError(
                f"{self.url}: cannot be fetched ({without_passwords(str(error))}); check base_url"
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if shortage(error):
                raise
            raise _TransientError(without_passwords(str(error))) from error

    def _require_body(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416:
            self.discard()
            raise _TransientError(
                "HTTP 416: the file on the server is shorter than the bytes fetched so far; starting over"
            )
        if status in (408, 429) or status >= 500:
            raise _TransientError(f"HTTP {status} {response.reason}", retry_after(response.headers, time.time()))
        raise DecorecError(
            f"{self.url}: expected the file, found HTTP {status} {response.reason};"
            " check the data set's category and base_url"
        )

    def _append(self, response: requests.Response, size: int | None, offset: int) -> None:
        remaining = None if size is None else size - offset
        require_space(self.part.parent, remaining or 0, self.url)
        label = f"fetching {self.url.rpartition('/')[2]}"
        with self.part.open("ab", buffering=0) as handle, progress(label, remaining, unit="B") as advance:
            # Raw bytes: some servers label .gz files as Content-Encoding: gzip although they send the file itself.
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                self._write(handle, chunk)
                advance(len(chunk))
        if size is not None and self.offset() != size:
            raise _TransientError(f"the connection ended after {self.offset()} of {size} bytes")

    def _write(self, handle: FileIO, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:  # an unbuffered write may write fewer bytes than it was given
                rest = rest[handle.write(rest) :]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DecorecError(
                f"{self.url}: the disk under {self.part.parent} is full; free some space, then run again:"
                " the download continues where it stopped"
            ) from error

    def finish(self) -> Stored:
        """Check the part and store it as complete.

        Raises:
            _TransientError: the bytes of several connections do not form a gzip file; the part is deleted.
            DecorecError: the bytes of a single connection are not a gzip file.
        """
        remote = self.expected()
        problem = gzip_problem(self.part) if remote else "nothing"
        if problem or remote is None:
            self.discard()
            if self.pieces > 1:
                raise _TransientError(f"the parts do not form a gzip file ({problem}); starting over")
            raise DecorecError(
                f"{self.url}: expected a complete gzip file, found {problem}; the server's copy is damaged or cut off:"
                " run again later, or set base_url to another mirror"
            )
        stored = Stored(self.done, remote, sums(self.part))
        write_json(self.done_facts, asdict(_Facts(remote, stored.sums)))
        self.part.replace(self.done)
        self.part_facts.unlink()
        return stored


def fetch(
    url: str,
    folder: Path,
    session: requests.Session,
    *,
    attempts: int,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Stored:
    """Fetch the gzip file at ``url`` into the cache ``folder`` unless it is there.

    A complete copy is not fetched again as long as the server says that it is unchanged.

    Args:
        url: of the file. A user and a password in it are sent, but neither printed nor stored.
        folder: the cache.
        session: to connect with.
        attempts: number of connections in a row without progress after which the download fails.
        timeout: seconds without a byte after which a connection counts as broken.
        sleep: waits for a number of seconds.

    Raises:
        DecorecError: the file is missing or damaged, there is no connection, or too little disk space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, folder, session, timeout)
    with _locked(transfer.lock, transfer.url):
        if (stored := transfer.complete()) and transfer.unchanged(stored):
            log.info("%s: %d bytes are in the cache already", transfer.url, stored.sums.bytes)
            return stored
        expected = transfer.expected()
        whole = expected is not None and transfer.offset() == expected.size
        failures, best = 0, transfer.offset()
        while True:
            try:
                if not whole:
                    transfer.connect()
                return transfer.finish()
            except _TransientError as problem:
                whole = False
                failures = 0 if transfer.offset() - best >= PROGRESS else failures + 1
                best = max(best, transfer.offset())
                _wait(transfer.url, problem, failures, attempts, sleep)


def _wait(url: str, problem: _TransientError, failures: int, attempts: int, sleep: Callable[[float], None]) -> None:
    """Wait before the next connection, or give up."""
    if failures >= attempts:
        raise DecorecError(
            f"{url}: {failures} connections in a row failed, the last one with: {problem};"
            " check the network and base_url, then run again: the download continues where it stopped"
        ) from problem
    if problem.wait is not None and problem.wait > LONGEST_WAIT:
        raise DecorecError(f"{url}: {problem}; the server asks to wait {problem.wait:.0f} s, run again after that")
    seconds = max(problem.wait or 0.0, backoff(failures, random.SystemRandom()))
    log.warning("%s: %s; connecting again in %.1f s", url, problem, seconds)
    sleep(seconds)
