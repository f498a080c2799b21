"""Pictures in a folder beside the user's own tables."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.shortage import shortage
from decorec.acquire.sources.registry import open_tables
from decorec.artifacts.contents import Contents
from decorec.config.datasets import FolderDataset
from decorec.errors import DecorecError

__all__ = ["identities", "is_local", "read_picture", "state_of_pictures"]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _inside(folder: Path, name: str) -> Path:
    """Path of ``name`` under ``folder``; ``..`` may not lead out; links of the user's own are followed.

    A letter with an accent has two forms in Unicode. Archives that were packed on a Mac have the longer one, tables the
    shorter one: the form that is there is taken.

    Raises:
        PictureError: permanent; "no-scheme" (an address such as //host/name) or "outside-folder".
    """
    if name.startswith("//"):
        raise PictureError("no-scheme", permanent=True)
    relative = os.path.normpath(name)
    if Path(relative).is_absolute() or Path(relative).parts[:1] == ("..",):
        raise PictureError("outside-folder", permanent=True)
    path = folder / relative
    if relative.isascii() or os.path.lexists(path):
        return path
    others = (folder / unicodedata.normalize(form, relative) for form in ("NFC", "NFD"))
    return next(filter(os.path.lexists, others), path)


def is_local(address: str) -> bool:
    """Whether ``address`` is the name of a file, and not a URL."""
    return not URL.match(address)


def state_of_pictures(dataset: FolderDataset, contents: Contents) -> str:
    """A short text that changes when a picture in the shop's own folder is added, replaced or deleted.

    It is made of names and contents of the files, and not of their times. It is "" where the table of items cannot be
    read; the step that reads it says why.
    """
    digest = hashlib.sha256()
    try:
        names = open_tables(dataset).picture_names()
    except DecorecError:
        return ""
    for identity in identities(Path(dataset.path), sorted(filter(is_local, names)), contents):
        digest.update(f"{identity}\n".encode())
    return digest.hexdigest()[:16]


def identities(folder: Path, names: Sequence[str], contents: Contents) -> list[str]:
    """What the files ``names`` are called in the journal; another content has another name."""
    paths = {}
    for name in names:
        with suppress(PictureError):
            paths[name] = _inside(folder, name)
    found = dict(zip(paths, contents.of_each(paths.values()), strict=True))
    return [f"{folder / name}\t{found.get(name) or 'absent'}" for name in names]


def read_picture(folder: Path, name: str, limit: int) -> bytes:
    """The content of file ``name``.

    Raises:
        PictureError: permanent; "no-scheme", "outside-folder", "backslash" (the name has one, and there is no such
            file), "missing-file" or "too-large" (more than ``limit`` bytes).
        OSError: this machine is short of something.
    """
    path = _inside(folder, name)
    missing = PictureError("backslash" if "\\" in name else "missing-file", permanent=True)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise missing
        if facts.st_size > limit:
            raise PictureError("too-large", permanent=True)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise missing from error
    except OSError as error:
        if shortage(error):
            raise
        if error.errno == errno.ENAMETOOLONG:
            raise missing from error
        raise PictureError("unreadable-file", permanent=False) from error
