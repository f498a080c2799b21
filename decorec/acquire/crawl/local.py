"""Pictures that lie in a folder beside the user's own tables."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from decorec.acquire.crawl.outcome import PictureError

__all__ = ["identity", "read_picture"]


def _inside(folder: Path, name: str) -> Path:
    """Path of ``name`` under ``folder``; links are followed, ``..`` may not lead out.

    Raises:
        PictureError: permanent, "outside-folder".
    """
    relative = os.path.normpath(name)
    if Path(relative).is_absolute() or Path(relative).parts[:1] == ("..",):
        raise PictureError("outside-folder", permanent=True)
    return folder / relative


def identity(folder: Path, name: str) -> str:
    """What a journal may remember the file by: it changes when the file does."""
    try:
        facts = _inside(folder, name).stat()
    except (PictureError, OSError, ValueError):
        return f"{folder / name}\tabsent"
    return f"{folder / name}\t{facts.st_size}\t{facts.st_mtime_ns}"


def read_picture(folder: Path, name: str, limit: int) -> bytes:
    """The content of file ``name``.

    Raises:
        PictureError: permanent; "outside-folder", "missing-file" or "too-large" (more than ``limit`` bytes).
    """
    path = _inside(folder, name)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise PictureError("missing-file", permanent=True)
        if facts.st_size > limit:
            raise PictureError("too-large", permanent=True)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise PictureError("missing-file", permanent=True) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PictureError("missing-file", permanent=True) from error
        raise PictureError("unreadable-file", permanent=False) from error
