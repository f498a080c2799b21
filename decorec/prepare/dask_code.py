"""The code that this process counts with, taken when it is first asked: an edit changes files, and not processes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from decorec import __version__

__all__ = ["CODE"]

FOLDERS = ("artifacts", "data", "prepare")
"""What a worker counts with lies in them."""


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for folder in FOLDERS for path in (package / folder).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


CODE = f"{__version__} (code {_digest(Path(__file__).parents[1])})"
