"""What every artifact carries: its place under results/, what it was made from, and digests of its content.

A seal is one line of printable text inside the file (in a file of its own beside a csv):

    decorec-seal:CONTENT:RECORD:PLACE;SOURCE=CONTENT;SOURCE=CONTENT|

``CONTENT`` is a BLAKE2b digest (128 bits, hexadecimal) of the file with its seal blanked out, so that it does not
depend on the digests of the sources: equal content has an equal digest. ``RECORD`` is the digest of what follows it.
``PLACE`` and ``SOURCE`` are paths from results/ on. Files elsewhere, and those in results/cache, have no place.

A reader checks that the content is as it was written, that the file lies where it was written, and, within one step,
that all files which it reads were made from the same sources.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from decorec.artifacts.layout import path_of, place_of
from decorec.errors import DecorecError

__all__ = [
    "MARK",
    "Provenance",
    "adopt",
    "check",
    "close",
    "counted",
    "current",
    "digest_in",
    "opened",
    "place_in",
    "provenance",
    "sources_agree",
    "sources_of",
]

DIGEST = 16
"""Bytes of a digest."""
BLANK = "0" * 2 * DIGEST
MARK = "decorec-seal:"
"""Begins a seal."""
SEAL = re.compile(MARK.encode() + rb"([0-9a-f]{32}):([0-9a-f]{32}):([A-Za-z0-9_.~/%;=-]*)\|")


@dataclass
class Provenance:
    """What one step has read and written so far."""

    digests: dict[str, str] = field(default_factory=dict)
    """Place -> digest."""
    claims: dict[str, tuple[str, Path]] = field(default_factory=dict)
    """Place of a source -> its digest as a file that was made from it says, and that file."""
    rows_in: Counter[str] = field(default_factory=Counter)
    """Name of a file -> rows read, over all files of that name."""
    rows_out: Counter[str] = field(default_factory=Counter)
    """The same of rows written."""
    written: dict[Path, None] = field(default_factory=dict)
    """The sealed files that were written, in the order of their first time."""


_STEP: ContextVar[Provenance | None] = ContextVar("step", default=None)


@contextmanager
def provenance() -> Iterator[Provenance]:
    """Within this, as the command line runs a step, artifacts record what was read before them, and have to agree."""
    step = Provenance()
    token = _STEP.set(step)
    try:
        yield step
    finally:
        _STEP.reset(token)


def current() -> Provenance | None:
    """What the step that runs here has read and written so far; None outside of ``provenance``."""
    return _STEP.get()


def sources_agree() -> AbstractContextManager[object]:
    """Within this, files that are read have to belong together.

    Those of a step agree with all that it reads, elsewhere they are compared with each other alone.
    """
    return provenance() if current() is None else nullcontext()


def adopt(other: Provenance) -> None:
    """Add what a process that this step has started has read and written."""
    if (step := _STEP.get()) is not None:
        for name in ("digests", "claims", "rows_in", "rows_out", "written"):
            getattr(step, name).update(getattr(other, name))


def counted(path: Path, rows: int, *, written: bool = False) -> None:
    """Note for the log of the steps how many rows (or records) of a file were read or written."""
    if (step := _STEP.get()) is not None:
        (step.rows_out if written else step.rows_in)[path.name] += rows


def opened(target: Path) -> str:
    """The seal of the file ``target`` before its content is known: digests are blank, their width is final."""
    step = _STEP.get()
    place = place_of(target)
    sources = {name: digest for name, digest in sorted(step.digests.items()) if name != place} if step else {}
    return f"{MARK}{BLANK}:{BLANK}:{_record(place, sources)}|"


def close(file: Path, target: Path, holder: Path | None = None) -> None:
    """Fill in the digests of ``file``, which will be renamed to ``target``.

    Args:
        file: the complete file, with the text of ``opened`` in it.
        target: the path that it will have.
        holder: the file that has the seal, if ``file`` has not.
    """
    found = _read(holder or file, target.suffix)
    assert found is not None, f"{target}: written without a seal"
    content = _digest(file, None if holder else found.span)
    with (holder or file).open("r+b") as handle:
        handle.seek(found.span[0])
        handle.write(f"{MARK}{content}:{_hash(found.record)}:{found.record}|".encode())
    _remember(target, content, found.record)
    if (step := _STEP.get()) is not None:
        step.written[target] = None


def check(path: Path, holder: Path | None = None) -> None:
    """Compare a file with its seal, and with what else the step has read.

    A file outside results/ may have no seal: it may come from elsewhere.

    Args:
        path: an artifact.
        holder: the file that has its seal, if it has not.

    Raises:
        DecorecError: the content is not the sealed one, the file belongs to another place, or it was not made from the
            files that the step reads.
    """
    place = place_of(path)
    found = _read(holder or path, path.suffix) if (holder or path).is_file() else None
    if found is None:
        if place:
            raise DecorecError(
                f"{path}: expected a complete file of this pipeline, found no seal{f' in {holder}' if holder else ''}: "
                f"it was cut off, or something else wrote it; {_remedy(path)}"
            )
        return
    content = _digest(path, None if holder else found.span)
    if (content, _hash(found.record)) != (found.content, found.check):
        raise DecorecError(
            f"{path}: expected the content that was written (digest {found.content}), found another (digest "
            f"{content}): the file is damaged or was edited; {_remedy(path)}"
        )
    written = _parsed(found.record)[0]
    if place and written and written != place:
        raise DecorecError(
            f"{path}: expected the file that was written there, found {path_of(written)}: it was copied or renamed; "
            f"{_remedy(path)}"
        )
    _remember(path, content, found.record)


def sources_of(path: Path) -> list[str]:
    """Places of the artifacts that ``path`` says it was made from; it holds its seal itself."""
    found = _read(path, path.suffix)
    return [] if found is None else list(_parsed(found.record)[1])


def digest_in(path: Path) -> str:
    """The digest of the content of ``path``, as its seal says; "" for a file without one."""
    found = _read(path, path.suffix) if path.is_file() else None
    return "" if found is None else found.content


def place_in(path: Path) -> str:
    """The place where ``path`` was written, wherever it lies now; "" for a file without a seal or a place."""
    found = _read(path, path.suffix) if path.is_file() else None
    return "" if found is None else _parsed(found.record)[0]


@dataclass(frozen=True)
class _Found:
    """A seal in a file."""

    content: str
    check: str
    record: str
    span: tuple[int, int]


def _read(file: Path, suffix: str) -> _Found | None:
    """The seal in ``file``: it is in the header of safetensors and at the end of all other formats."""
    with _mapped(file) as data:
        start = (data.find if suffix == ".safetensors" else data.rfind)(MARK.encode())
        match = SEAL.match(data, start) if start >= 0 else None
        if match is None:
            return None
        content, check, record = (group.decode() for group in match.groups())
        return _Found(content, check, record, match.span())


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a file, without a copy in memory."""
    with file.open("rb") as handle:
        if file.stat().st_size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _digest(file: Path, span: tuple[int, int] | None) -> str:
    """Digest of a file, without the bytes of ``span``."""
    total = hashlib.blake2b(digest_size=DIGEST)
    with _mapped(file) as data, memoryview(data) as view:
        start, stop = span or (len(view), len(view))
        for part in (view[:start], view[stop:]):
            with part:
                total.update(part)
    return total.hexdigest()


def _hash(record: str) -> str:
    return hashlib.blake2b(record.encode(), digest_size=DIGEST).hexdigest()


def _record(place: str, sources: dict[str, str]) -> str:
    names = [_escaped(place), *(f"{_escaped(name)}={digest}" for name, digest in sources.items())]
    return ";".join(names)


def _escaped(place: str) -> str:
    """Letters that every format can hold; "--" would end a comment of html."""
    return quote(place, safe="/").replace("--", "-%2D")


def _parsed(record: str) -> tuple[str, dict[str, str]]:
    """Place and sources."""
    place, *sources = record.split(";")
    pairs = (source.partition("=") for source in sources)
    return unquote(place), {unquote(name): digest for name, _, digest in pairs}


def _remember(path: Path, content: str, record: str) -> None:
    """Add a file to what the step knows.

    Raises:
        DecorecError: it was made from another file than the one that the step has read, or than another file says.
    """
    step = _STEP.get()
    if step is None:
        return
    place, sources = _parsed(record)
    claimed = step.claims.get(place)
    if place and claimed is not None and claimed[0] != content:
        raise _stale(claimed[1], place, f"is {content}, and was {claimed[0]} then")
    for name, digest in sources.items():
        if name in step.digests and step.digests[name] != digest:
            raise _stale(path, name, f"is {step.digests[name]}, and was {digest} then")
        earlier = step.claims.setdefault(name, (digest, path))
        if earlier[0] != digest:
            raise DecorecError(
                f"{path} and {earlier[1]}: expected files that were made from the same {path_of(name)}, found that "
                f"they were made from two different ones; {_remedy(path, earlier[1])}"
            )
    if place:
        step.digests[place] = content


def _stale(path: Path, name: str, digests: str) -> DecorecError:
    return DecorecError(
        f"{path}: expected a file that was made from {path_of(name)} as it is, found one that was made from another "
        f"(its digest {digests}); {_remedy(path)}"
    )


def _remedy(*paths: Path) -> str:
    """How to make files again."""
    places = [place_of(path) for path in paths]
    if not all(places):
        return "make it again"
    named = " ".join(map(path_of, places))
    return f"make {'it' if len(paths) == 1 else 'them'} again: snakemake --cores 1 --force {named}"
