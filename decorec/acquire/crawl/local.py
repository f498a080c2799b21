"""Pictures in a folder beside the user's own tables."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import unicodedata
from pathlib import Path

from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.shortage import shortage
from decorec.acquire.sources.registry import open_tables
from decorec.config.datasets import FolderDataset
from decorec.errors import DecorecError

__all__ = ["identity", "is_local", "read_picture", "state_of_pictures"]

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


def state_of_pictures(dataset: FolderDataset) -> str:
    """A short text that changes when a picture in the shop's own folder is added, replaced or deleted.

    It is made of names, sizes and times of the files, not of their content, because it is computed whenever the
    workflow is planned. It is "" where the table of items cannot be read; the step that reads it says why.
    """
    folder, digest = Path(dataset.path), hashlib.sha256()
    try:
        names = open_tables(dataset).picture_names()
    except DecorecError:
        return ""
    for name in sorted(filter(is_local, names)):
        digest.update(f"{identity(folder, name)}\n".encode())
    return digest.hexdigest()[:16]


def identity(folder: Path, name: str) -> str:
    """The name of the file in the journal; it changes when the file does."""
    try:
        facts = _inside(folder, name).stat()
    except (PictureError, OSError, ValueError):
        return f"{folder / name}\tabsent"
    return f"{folder / name}\t{facts.st_size}\t{facts.st_mtime_ns}"


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
