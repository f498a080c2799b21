"""A folder with all that a trained run needs to recommend, which can be moved anywhere: how it is read.

The files lie in it as they do beside the run, in a small results/ of its own: so each is where its seal says, and what
refers to another file finds it. manifest.json names all of them with their digests, and the folder of the model.
``decorec.export.self_contained`` writes it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from decorec.errors import DecorecError

__all__ = ["FORMAT", "MANIFEST", "checked", "located", "measured"]

MANIFEST = "manifest.json"
FORMAT = "self-contained"
"""What the manifest names as its format."""


def located(folder: Path) -> Path:
    """Where the model lies: in a self-contained folder what its manifest says, else ``folder`` itself.

    Raises:
        DecorecError: the manifest is damaged.
    """
    return folder if (manifest := _manifest(folder)) is None else folder / str(manifest["folder"])


def checked(folder: Path) -> Path:
    """The same, after a look at every file of a self-contained folder.

    Raises:
        DecorecError: one is missing, or not as it was written.
    """
    manifest = _manifest(folder)
    if manifest is None:
        return folder
    for name, written in manifest["files"].items():
        path = folder / name
        found = measured(path) if path.is_file() else None
        if found != written:
            shown = "no such file" if found is None else f"{found['bytes']} bytes with the digest {found['sha256']}"
            raise DecorecError(
                f"{path}: expected the file that {folder / MANIFEST} names ({written['bytes']} bytes, sha256 "
                f"{written['sha256']}), found {shown}; copy the folder once more, or export the run again"
            )
    return folder / str(manifest["folder"])


def measured(path: Path) -> dict[str, Any]:
    """Size and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _manifest(folder: Path) -> dict[str, Any] | None:
    """What a self-contained folder says of itself; None for another folder.

    It has no seal, which would name the place where the folder was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            return None
        entries = [(entry["bytes"], entry["sha256"]) for entry in found["files"].values()]
        if not entries or not isinstance(found["folder"], str):
            raise ValueError("it names no files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DecorecError(
            f"{path}: expected what the step export has written, found a file that cannot be read ({error!r}); copy "
            "the folder once more, or export the run again"
        ) from error
    manifest: dict[str, Any] = found
    return manifest
