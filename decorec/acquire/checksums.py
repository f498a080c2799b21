"""Checks of files: checksums, complete gzip files, free disk space."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from decorec.acquire.gzip_files import GZIP, pieces
from decorec.errors import DecorecError
from decorec.progress import progress

__all__ = ["Sums", "expect_sums", "gzip_problem", "require_space", "sums"]


@dataclass(frozen=True)
class Sums:
    """Size and checksum of a file."""

    bytes: int
    sha256: str


def sums(path: Path) -> Sums:
    """Size and sha256 of the file's bytes."""
    with path.open("rb") as handle:
        return Sums(bytes=path.stat().st_size, sha256=hashlib.file_digest(handle, "sha256").hexdigest())


def expect_sums(path: Path, expected: Sums) -> None:
    """Check that a downloaded file is the one that was downloaded.

    Raises:
        DecorecError: it is missing, or has another checksum.
    """
    found = sums(path).sha256 if path.is_file() else "no such file"
    if found != expected.sha256:
        raise DecorecError(
            f"{path}: expected the file that was downloaded (sha256 {expected.sha256}), found another ({found}): it is "
            f"damaged or was replaced; make it again: snakemake --cores 1 --force {path}"
        )


def gzip_problem(path: Path) -> str | None:
    """What is wrong with a gzip file; None if it decompresses to its end and its checksums (CRC-32) match."""
    try:
        with (
            path.open("rb") as handle,
            progress(f"checking {path.name[:12]}", path.stat().st_size, unit="B") as advance,
        ):
            start = handle.peek(len(GZIP))[: len(GZIP)]
            if start != GZIP:
                return f"a file that starts with {start!r}" if start else "an empty file"
            position = 0
            for _ in pieces(handle):
                advance(handle.tell() - position)
                position = handle.tell()
    except gzip.BadGzipFile as error:
        return str(error)
    return None


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check that ``needed`` bytes fit into ``folder``.

    Raises:
        DecorecError: they do not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DecorecError(
            f"{what}: expected {needed / 1e9:.2f} GB of free disk under {folder}, found {free / 1e9:.2f} GB;"
            " free some space, then run again"
        )
